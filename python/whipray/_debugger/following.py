"""The debugger's command ``remote``: from a caller into the task that it calls next.

The next call of the thread submits another definition in the place of the function: one that waits
for the debugger, under the identity of the breakpoint that was left, and runs the function in it.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

from whipray._debugger import breakpoints, returning
from whipray._generators import is_generator
from whipray.remote_function import RemoteFunction

_waiting: dict[int, str] = {}
"""The breakpoint that each thread is to be followed from, where it is."""

_lock = threading.Lock()
_plain: Any = None
"""What ``RemoteFunction.remote`` was before, while some thread is followed."""


def follow_next_call(identity: str) -> None:
    """Have the next task that this thread submits stop at its first line."""
    global _plain
    breakpoints.announce(identity, "the next remote call of a task")
    with _lock:
        if not _waiting:
            _plain = RemoteFunction.__dict__.get("remote")
            RemoteFunction.remote = _FollowedRemote()  # type: ignore[assignment]
        _waiting[threading.get_ident()] = identity


def give_up() -> None:
    """The task of this thread is through: what it calls is not followed any more."""
    if _waiting:
        identity = _take()
        if identity is not None:
            breakpoints.withdraw_announcement(identity)


def _take() -> str | None:
    """The breakpoint that this thread is to be followed from; it is not from here on."""
    with _lock:
        identity = _waiting.pop(threading.get_ident(), None)
        if identity is not None and not _waiting:
            if _plain is None:
                del RemoteFunction.remote
            else:
                RemoteFunction.remote = _plain
    return identity


class _FollowedRemote:
    """In the place of the attribute ``remote``; the plain one stays in the object."""

    def __get__(self, target: Any, owner: type | None = None) -> Any:
        if target is None:
            return self
        plain = _plain.__get__(target, owner) if _plain is not None else target.__dict__["remote"]
        return functools.partial(_submit, target, plain)

    def __set__(self, target: Any, value: Any) -> None:
        target.__dict__["remote"] = value


def _submit(target: RemoteFunction, plain: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    identity = _take()
    if identity is None:
        return plain(*args, **kwargs)
    function = followed(target._function, identity)
    return RemoteFunction(function, target._default_options).remote(*args, **kwargs)


def followed(function: Callable[..., Any], identity: str) -> Callable[..., Any]:
    """``function``, run by a debugger that somebody has to attach to first."""
    wrapper: Callable[..., Any]
    if is_generator(function):

        def wrapper(*args: Any, **kwargs: Any) -> Iterator[Any]:
            debugger = _attached(function, identity)
            debugger.follow()
            try:
                yield from function(*args, **kwargs)
            finally:
                debugger.leave()

    else:

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            debugger = _attached(function, identity)
            debugger.follow()
            try:
                return function(*args, **kwargs)
            finally:
                debugger.leave()

    return returning.marking(functools.wraps(function)(wrapper))


def _attached(function: Callable[..., Any], identity: str) -> Any:
    from whipray._debugger import remote_pdb

    code = function.__code__
    return remote_pdb.attached(identity, (code.co_filename, code.co_firstlineno))
