"""A table in blocks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import whipray
from whipray._core import ObjectRef
from whipray.data.blocks import BlockDescription, as_arrow, as_arrow_block, schema_of

if TYPE_CHECKING:
    import pandas
    import pyarrow


class Dataset:
    """Rows in blocks, which are dataframes in the object store; made by ``from_pandas_refs``."""

    def __init__(
        self, blocks: list[ObjectRef[pandas.DataFrame]], descriptions: list[BlockDescription]
    ) -> None:
        """For the functions of :mod:`whipray.data`."""
        self._blocks = blocks
        self._descriptions = descriptions

    def count(self) -> int:
        """The number of rows."""
        return sum(description.rows for description in self._descriptions)

    def num_blocks(self) -> int:
        """The number of blocks."""
        return len(self._blocks)

    def size_bytes(self) -> int:
        """What the blocks take in memory, in bytes."""
        return sum(description.size_bytes for description in self._descriptions)

    def schema(self, fetch_if_missing: bool = True) -> Schema | None:
        """The columns of all blocks, and their types; None without blocks.

        Raises ImportError without pyarrow. ``fetch_if_missing`` has no effect: what is asked for
        is found out.
        """
        if not self._blocks:
            return None
        import pyarrow

        found = whipray.get([schema_of.remote(block) for block in self._blocks])
        return Schema(pyarrow.unify_schemas(found, promote_options="permissive"))

    def columns(self, fetch_if_missing: bool = True) -> list[str] | None:
        """The names of the columns; None without blocks. Raises as :meth:`schema`."""
        schema = self.schema(fetch_if_missing)
        return None if schema is None else schema.names

    def iter_rows(self) -> Iterator[dict[str, Any]]:
        """The rows in their order, block by block: values by name, None where there is none.

        Raises ImportError without pyarrow.
        """
        for block in self._blocks:
            yield from as_arrow(whipray.get(block)).to_pylist()

    def take(self, limit: int = 20) -> list[dict[str, Any]]:
        """The first rows, ``limit`` of them at most."""
        return list(itertools.islice(self.iter_rows(), max(limit, 0)))

    def take_all(self, limit: int | None = None) -> list[dict[str, Any]]:
        """All rows. Raises ValueError where there are more than ``limit``."""
        if limit is not None and self.count() > limit:
            raise ValueError(f"The dataset has more than the given limit of {limit} records.")
        return list(self.iter_rows())

    def show(self, limit: int = 20) -> None:
        """Print the first rows, ``limit`` of them at most."""
        for row in self.take(limit):
            print(row)

    def to_pandas(self, limit: int | None = None) -> pandas.DataFrame:
        """All rows in one dataframe, numbered from 0.

        Raises ValueError where there are more than ``limit``.
        """
        import pandas

        count = self.count()
        if limit is not None and count > limit:
            raise ValueError(f"the dataset has more than the given limit of {limit} rows: {count}.")
        frames = whipray.get(self._blocks)
        return pandas.concat(frames, ignore_index=True) if frames else pandas.DataFrame()

    def to_pandas_refs(self) -> list[ObjectRef[pandas.DataFrame]]:
        """The blocks, as dataframes in the object store."""
        return list(self._blocks)

    def to_arrow_refs(self) -> list[ObjectRef[pyarrow.Table]]:
        """The blocks without their indexes, as tables in the object store."""
        return [as_arrow_block.remote(block) for block in self._blocks]

    def materialize(self) -> MaterializedDataset:
        """The dataset with its blocks computed."""
        return MaterializedDataset(self._blocks, self._descriptions)

    def __len__(self) -> int:
        raise AttributeError(
            "Use `ds.count()` to compute the length of a distributed Dataset. This may be an "
            "expensive operation."
        )

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        raise TypeError(
            "`Dataset` objects aren't iterable. To iterate records, call `ds.iter_rows()`."
        )

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}(num_blocks={self.num_blocks()}, num_rows={self.count()})"


class MaterializedDataset(Dataset):
    """A dataset whose blocks are computed."""


class Schema:
    """Names and types of columns."""

    def __init__(self, base_schema: pyarrow.Schema) -> None:
        self.base_schema = base_schema

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self.base_schema.names)

    @property
    def types(self) -> list[Any]:
        """The types of the columns, as those of pyarrow."""
        return list(self.base_schema.types)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and bool(self.base_schema.equals(other.base_schema))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        rows = [("Column", "Type"), ("------", "----")]
        rows += [(name, str(kind)) for name, kind in zip(self.names, self.types)]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {kind}" for name, kind in rows)
