"""Optimizations of graphs."""

from __future__ import annotations

from typing import Any

from dask.highlevelgraph import HighLevelGraph


def dataframe_optimize(dsk: Any, keys: Any, **kwargs: Any) -> Any:
    """The graph without what its ``keys`` do not need.

    dask's dataframes optimize their expressions themselves; this is for graphs that do not come
    from one.
    """
    from dask.core import flatten

    wanted = list(flatten([keys]))
    if not isinstance(dsk, HighLevelGraph):
        dsk = HighLevelGraph.from_collections(str(id(dsk)), dsk, dependencies=())
    return dsk.cull(set(wanted))
