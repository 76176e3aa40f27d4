"""Results as they come, of many tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from whipray._core import ObjectRef
from whipray._objects import get, wait

__all__ = ["DEFAULT_BACKPRESSURE_SIZE", "DEFAULT_CHUNK_SIZE", "as_completed", "map_unordered"]

DEFAULT_CHUNK_SIZE = 10
"""References that are waited for at a time."""

DEFAULT_BACKPRESSURE_SIZE = 100
"""Tasks that wait or run at a time."""


def as_completed(
    refs: Sequence[ObjectRef[Any]],
    *,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    yield_obj_refs: bool = False,
    **kwargs: Any,
) -> Iterator[Any]:
    """The values of references as they come, or the references with ``yield_obj_refs``.

    Waits for up to ``chunk_size`` of them at a time; other keywords go to :func:`whipray.wait`.
    Raises what a task raises, ValueError for a chunk size below 1.
    """
    _check_chunk_size(chunk_size)
    if "num_returns" in kwargs:
        raise ValueError("Use the `chunk_size` argument instead of `num_returns`.")
    left = list(refs)
    while left:
        ready, left = wait(left, num_returns=min(chunk_size, len(left)), **kwargs)
        yield from ready if yield_obj_refs else get(ready)


def map_unordered(
    fn: Any,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = DEFAULT_BACKPRESSURE_SIZE,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    yield_obj_refs: bool = False,
    **kwargs: Any,
) -> Iterator[Any]:
    """Results of a remote function for all items as they come.

    At most ``backpressure_size`` tasks wait or run at a time (None: all at once). The other
    keywords are those of :func:`as_completed`. Raises ValueError where the function cannot be
    called remotely.
    """
    if not hasattr(fn, "remote"):
        raise ValueError("map_unordered takes a remote function: decorate it with @ray.remote.")
    if backpressure_size is None:
        backpressure_size = 2**63
    if backpressure_size < 1:
        raise ValueError(f"backpressure_size must be positive, not {backpressure_size}.")
    _check_chunk_size(chunk_size)
    return _map(fn, items, backpressure_size, chunk_size, yield_obj_refs, kwargs)


def _map(
    fn: Any,
    items: Iterable[Any],
    most: int,
    chunk_size: int,
    yield_obj_refs: bool,
    kwargs: dict[str, Any],
) -> Iterator[Any]:
    left: list[ObjectRef[Any]] = []
    for item in items:
        left.append(fn.remote(item))
        if len(left) >= most:
            ready, left = wait(left, num_returns=min(chunk_size, len(left)), **kwargs)
            yield from ready if yield_obj_refs else get(ready)
    yield from as_completed(left, chunk_size=chunk_size, yield_obj_refs=yield_obj_refs, **kwargs)


def _check_chunk_size(size: int) -> None:
    if size < 1:
        raise ValueError(f"`chunk_size` must be >= 1, not {size}.")
