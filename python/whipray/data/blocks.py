"""What tasks find out about blocks, each of which is a ``pandas.DataFrame`` in the object store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import whipray


@dataclass(frozen=True)
class BlockDescription:
    """How much a block has."""

    rows: int
    size_bytes: int


@whipray.remote
def describe(block: Any) -> BlockDescription:
    """Raises TypeError for what is no dataframe."""
    import pandas

    if not isinstance(block, pandas.DataFrame):
        raise TypeError(f"a block is a pandas.DataFrame, not {type(block)}")
    size_bytes = int(block.memory_usage(index=True, deep=True).sum())
    return BlockDescription(len(block), size_bytes)


@whipray.remote
def schema_of(block: Any) -> Any:
    """The ``pyarrow.Schema`` of a block."""
    return as_arrow(block).schema.remove_metadata()


@whipray.remote
def as_arrow_block(block: Any) -> Any:
    """The block as a ``pyarrow.Table``."""
    return as_arrow(block)


def as_arrow(block: Any) -> Any:
    """A dataframe without its index, as a ``pyarrow.Table``. Raises ImportError without pyarrow."""
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError("rows and schemas need pyarrow: 'pip install pyarrow'") from error
    return pyarrow.Table.from_pandas(block, preserve_index=False)
