"""The debugger's command ``get``: from a task to where its result is got.

The result travels inside of a mark. Whoever gets it has the plain value, and stops.
"""

from __future__ import annotations

import functools
import inspect
import secrets
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from whipray import _core
from whipray._debugger import breakpoints

_asked: dict[bytes, str] = {}
"""By task: the breakpoint at which somebody asked to be where its result is got."""

_seen: set[str] = set()
"""Marks that this process has met: it stops once for each, however often the value is got."""


def stop_where_result_is_got(identity: str) -> bool:
    """Have the process that gets the result of this task stop there; False outside of a task."""
    task = _task()
    if not task:
        return False
    breakpoints.announce(identity, "somebody who gets the result")
    _asked[task] = identity
    return True


def marking(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of a task or an actor, whose result is marked where the debugger asks for it.

    What it calls is not followed any more when it has ended. Items that come one by one are not
    marked.
    """
    wrapper: Callable[..., Any]
    if inspect.isasyncgenfunction(function):
        return function
    if inspect.isgeneratorfunction(function):

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                return (yield from function(*args, **kwargs))
            finally:
                forget()

    elif inspect.iscoroutinefunction(function):

        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                value = await function(*args, **kwargs)
            except BaseException:
                forget()
                raise
            return marked(value)

    else:

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                value = function(*args, **kwargs)
            except BaseException:
                forget()
                raise
            return marked(value)

    return functools.wraps(function)(wrapper)


def mark_methods(cls: type) -> None:
    """Have the methods of an actor's class be as :func:`marking` has them."""
    from whipray._tracing import _plain_method

    for name in dir(cls):
        method = _plain_method(cls, name)
        if method is not None:
            setattr(cls, name, marking(method))


def marked(value: Any) -> Any:
    """The result of this task, marked where somebody has asked for that."""
    _end_of_task()
    identity = _asked.pop(_task(), None) if _asked else None
    return value if identity is None else _Marked(value, identity)


def forget() -> None:
    """This task has no result: nobody stops where it is got."""
    _end_of_task()
    identity = _asked.pop(_task(), None) if _asked else None
    if identity is not None:
        breakpoints.withdraw_announcement(identity)


def _end_of_task() -> None:
    following = sys.modules.get("whipray._debugger.following")
    if following is not None:
        following.give_up()


def _task() -> bytes:
    task: bytes = _core.context()["task_id"]
    return task


class _Marked:
    """A result, or several of one task: as a whole it is pickled, or item by item."""

    def __init__(self, value: Any, identity: str) -> None:
        self._value = value
        self._identity = identity
        self._mark = secrets.token_hex(8)

    def __len__(self) -> int:
        return len(self._value)

    def __iter__(self) -> Iterator[_Marked]:
        for item in self._value:
            yield _Marked(item, self._identity)

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self._value, self._identity, self._mark)


def _arrived(value: Any, identity: str, mark: str) -> Any:
    """The plain value; the program stops as soon as it has it, where it has called ``get``."""
    frame = _frame_of_get(sys._getframe().f_back)
    if frame is not None and mark not in _seen:
        _seen.add(mark)
        _stop_in(frame, identity)
    return value


def _frame_of_get(frame: FrameType | None) -> FrameType | None:
    """Where the program has called ``get``; None where the value is for somebody else."""
    from whipray import _objects

    is_got = False
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] != "whipray":
            return frame if is_got else None
        is_got = is_got or frame.f_code is _objects.get.__code__
        frame = frame.f_back
    return None


def _stop_in(frame: FrameType, identity: str) -> None:
    """Wait for a debugger at the next line of ``frame``, or at its end."""

    def trace(at: FrameType, event: str, argument: Any) -> Any:
        from whipray._debugger import remote_pdb

        at.f_trace = None
        sys.settrace(None)
        debugger = remote_pdb.attached(identity, (at.f_code.co_filename, at.f_lineno))
        debugger.set_trace(at)
        return debugger.trace_dispatch(at, event, argument)

    frame.f_trace = trace
    # Frames that begin meanwhile are not traced.
    sys.settrace(lambda *_: None)
