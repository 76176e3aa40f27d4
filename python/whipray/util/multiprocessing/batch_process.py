"""What runs in the processes of a pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Union

from whipray import cloudpickle
from whipray._core import ObjectRef
from whipray._objects import get

_FUNCTIONS = 64
"""Functions that a process keeps unpickled; a pool rarely uses more than a few."""

Payload = Union[bytes, list[ObjectRef[bytes]]]
"""A pickled function: its bytes, or where they are too many to travel with every call, a list of
the reference to them."""


class PoolTaskError(Exception):
    """In the place of a result: the exception with which a call ended, and the text of its
    traceback, which does not travel otherwise."""

    def __init__(self, underlying: BaseException, traceback: str = "") -> None:
        super().__init__(underlying, traceback)
        self.underlying = underlying
        self.traceback = traceback

    def to_raise(self) -> BaseException:
        """The exception, with the traceback as its cause, as the standard library has it."""
        if self.traceback:
            from multiprocessing import pool

            text = '\n"""\n' + self.traceback + '"""'
            self.underlying.__cause__ = vars(pool)["RemoteTraceback"](text)
        return self.underlying


class FailedBatch:
    """The results of a batch in which calls failed; their places hold :class:`PoolTaskError`."""

    def __init__(self, results: list[Any]) -> None:
        self.results = results


class BatchProcess:
    """The actor behind one process of a pool."""

    def __init__(self, initializer: Callable[..., Any] | None, arguments: tuple[Any, ...]) -> None:
        self._functions: dict[bytes | ObjectRef[bytes], Callable[..., Any]] = {}
        if initializer is not None:
            initializer(*arguments)

    def ready(self) -> None:
        """Answers once the initializer has returned."""

    def each(self, payload: Payload, items: list[Any]) -> list[Any] | FailedBatch:
        """The function of every item. An item that fails does not keep the others from running."""
        function = self._function(payload)
        results: list[Any] = []
        has_failed = False
        for item in items:
            try:
                results.append(function(item))
            except Exception as error:
                results.append(_failure(error))
                has_failed = True
        return FailedBatch(results) if has_failed else results

    def each_spread(self, payload: Payload, items: list[Any]) -> list[Any] | FailedBatch:
        """The same, where an item is a tuple of arguments, and perhaps a dictionary of named ones:
        ``(arguments, named)``."""
        function = self._function(payload)
        results: list[Any] = []
        has_failed = False
        for arguments, named in items:
            try:
                results.append(function(*arguments, **named) if named else function(*arguments))
            except Exception as error:
                results.append(_failure(error))
                has_failed = True
        return FailedBatch(results) if has_failed else results

    def _function(self, payload: Payload) -> Callable[..., Any]:
        key = payload if isinstance(payload, bytes) else payload[0]
        function = self._functions.get(key)
        if function is None:
            pickled = key if isinstance(key, bytes) else get(key)
            function = cloudpickle.loads(pickled)
            if len(self._functions) >= _FUNCTIONS:
                self._functions.clear()
            self._functions[key] = function
        assert function is not None
        return function


def _failure(error: Exception) -> PoolTaskError:
    import traceback

    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        cloudpickle.loads(cloudpickle.dumps(error))
    except Exception:
        # Neither the exception nor what it refers to can travel; what it said can.
        return PoolTaskError(RuntimeError(f"{type(error).__name__}: {error}"), text)
    return PoolTaskError(error, text)
