"""Datasets of dataframes that are there already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import whipray
from whipray._core import ObjectRef
from whipray.data.blocks import describe
from whipray.data.dataset import MaterializedDataset

if TYPE_CHECKING:
    import pandas


def from_pandas_refs(
    dfs: ObjectRef[pandas.DataFrame] | list[ObjectRef[pandas.DataFrame]],
) -> MaterializedDataset:
    """A dataset whose blocks are these dataframes, which stay where they are.

    Raises ValueError for what is no reference, and TypeError where a value is no dataframe.
    """
    blocks: list[Any] = [dfs] if isinstance(dfs, ObjectRef) else list(dfs)
    for block in blocks:
        if not isinstance(block, ObjectRef):
            raise ValueError(f"Expected list of Ray object refs, got list containing {type(block)}")
    descriptions = whipray.get([describe.remote(block) for block in blocks])
    return MaterializedDataset(blocks, descriptions)


def from_pandas(
    dfs: pandas.DataFrame | list[pandas.DataFrame], override_num_blocks: int | None = None
) -> MaterializedDataset:
    """A dataset of dataframes of this process, a block each.

    With ``override_num_blocks`` their rows are divided into so many blocks, as evenly as it goes.
    Raises ValueError where that is below 1.
    """
    import pandas

    frames = [dfs] if isinstance(dfs, pandas.DataFrame) else list(dfs)
    if override_num_blocks is not None and frames:
        if override_num_blocks < 1:
            raise ValueError(f"override_num_blocks is above 0, not {override_num_blocks}")
        whole = pandas.concat(frames)
        ends = [
            len(whole) * index // override_num_blocks for index in range(override_num_blocks + 1)
        ]
        frames = [whole.iloc[begin:end] for begin, end in zip(ends, ends[1:])]
    return from_pandas_refs([whipray.put(frame) for frame in frames])
