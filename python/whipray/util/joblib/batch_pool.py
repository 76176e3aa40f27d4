"""A pool for the batches of joblib, which stores large arrays once."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from typing import Any

from whipray._core import ObjectRef
from whipray._objects import get, put
from whipray.util.multiprocessing.pool import Pool
from whipray.util.multiprocessing.results import AsyncResult


class Stored:
    """In the place of an argument: the reference to it."""

    def __init__(self, reference: ObjectRef[Any]) -> None:
        self.reference = reference


class BatchPool(Pool):
    """Calls batches of joblib's."""

    def __init__(
        self, processes: int, ray_remote_args: dict[str, Any] | None, max_nbytes: int | None
    ) -> None:
        """Arrays above ``max_nbytes`` bytes are stored; None: none is."""
        super().__init__(processes, ray_remote_args=ray_remote_args)
        self._max_nbytes = max_nbytes
        # The arrays as well: another one could have the address of one that is gone.
        self._stored: dict[int, tuple[Any, Stored]] = {}

    def apply_async(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        callback: Callable[[Any], None] | None = None,
        error_callback: Callable[[Exception], None] | None = None,
    ) -> AsyncResult:
        """Call ``func()``, a batch or joblib's wrapper around one."""
        # As an argument: each batch is another function, and the pool learns from what it knows.
        work = (self._with_stored(func), args or (), kwargs or {})
        return super().apply_async(call_batch, work, None, callback, error_callback)

    def _with_stored(self, func: Any) -> Any:
        batch = batch_of(func)
        items = [
            (
                function,
                tuple(self._store(value) for value in arguments),
                {name: self._store(value) for name, value in named.items()},
            )
            for function, arguments, named in getattr(batch, "items", ())
        ]
        if not self._stored:
            return func
        changed = copy.copy(batch)
        changed.items = items
        if batch is func:
            return changed
        wrapper = copy.copy(func)
        wrapper.func = changed
        return wrapper

    def _store(self, value: Any) -> Any:
        if self._max_nbytes is None or not is_array(value) or value.nbytes <= self._max_nbytes:
            return value
        known = self._stored.get(id(value))
        if known is None:
            known = self._stored[id(value)] = (value, Stored(put(value)))
        return known[1]

    def terminate(self) -> None:
        """End the actors, and let go of what was stored."""
        super().terminate()
        self._stored.clear()


def is_array(value: Any) -> bool:
    """Whether this is an array of numpy's, which is not imported for the question."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) is numpy.ndarray and not value.dtype.hasobject


def batch_of(func: Any) -> Any:
    """The batch inside of joblib's wrapper, if there is a wrapper."""
    return getattr(func, "func", func)


def call_batch(func: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """In an actor: call the batch with what was stored in its place."""
    batch = batch_of(func)
    if hasattr(batch, "items"):
        batch.items = [
            (
                function,
                tuple(_load(value) for value in given),
                {name: _load(value) for name, value in given_named.items()},
            )
            for function, given, given_named in batch.items
        ]
    return func(*arguments, **named)


def _load(value: Any) -> Any:
    return get(value.reference) if type(value) is Stored else value
