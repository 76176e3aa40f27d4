"""Exceptions of user code on their way from the task to whoever asks for its result."""

from __future__ import annotations

import os
from pickle import dumps as plain_dumps
from pickle import loads
from typing import TYPE_CHECKING, Any

from whipray import _session
from whipray.exceptions import (
    RayError,
    RayTaskError,
    UnserializableException,
)

if TYPE_CHECKING:
    from types import TracebackType

PACKAGE_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep


def dump_error(
    error: BaseException, name: str, actor_repr: str | None = None, actor_id: str | None = None
) -> bytes:
    """The bytes that take the place of the value of a task that raised ``error``.

    ``name`` is what the traceback calls the task (``function`` or ``Class.method``). Never raises:
    an exception that cannot be pickled travels as its text.
    """
    return _dump(error, format_error(error), name, actor_repr, actor_id)


def dump_dependency_error(
    error: BaseException, name: str, actor_repr: str | None = None, actor_id: str | None = None
) -> bytes:
    """The same for a task that did not run because an argument of it is this error."""
    kind = type(error)
    text = (
        "  At least one of the input arguments for this task could not be computed:\n"
        f"{kind.__module__}.{kind.__qualname__}: {error}"
    )
    return _dump(error, text, name, actor_repr, actor_id)


def _dump(
    error: BaseException, text: str, name: str, actor_repr: str | None, actor_id: str | None
) -> bytes:
    fields = {
        "function_name": name,
        "traceback_str": text,
        "pid": os.getpid(),
        "ip": _session.current.info.get("node_ip", ""),
        "actor_repr": actor_repr,
        "actor_id": actor_id,
    }
    return plain_dumps((fields, _pickle_cause(error, text)), protocol=5)


def load_error(data: bytes) -> BaseException:
    """The exception to raise for such bytes; the user's type where that can be made here."""
    fields, pickled = loads(data)
    try:
        cause = loads(pickled)
    except Exception as error:
        text = str(RayTaskError(cause=RayError(), **fields))
        return UnserializableException(
            f"{text}\n\nIt could not be unpickled here: {type(error).__name__}: {error}"
        )
    return RayTaskError(cause=cause, **fields).as_instanceof_cause()


def _pickle_cause(cause: BaseException, text: str) -> bytes:
    from whipray._serialization import dumps

    if isinstance(cause, RayTaskError):
        # A hop further up: what the user raised at the bottom decides the type there as well.
        cause = cause.cause if isinstance(cause.cause, BaseException) else cause
    try:
        return dumps(cause)
    except Exception as error:
        kind = type(cause)
        return dumps(
            RayError(
                f"Exception {kind.__module__}.{kind.__qualname__} isn't serializable: {error}\n"
                f"Original exception details: {text}"
            )
        )


def format_error(error: BaseException) -> str:
    """The traceback of an exception without the frames of this package."""
    import traceback

    trace = traceback.TracebackException(type(error), error, _user_frames(error.__traceback__))
    _drop_own_frames(trace)
    return "".join(trace.format()).rstrip("\n")


def _user_frames(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(PACKAGE_FOLDER):
        trace = trace.tb_next
    return trace


def _drop_own_frames(trace: Any) -> None:
    while trace is not None:
        kept = [frame for frame in trace.stack if not frame.filename.startswith(PACKAGE_FOLDER)]
        if len(kept) != len(trace.stack):
            del trace.stack[:]
            trace.stack.extend(kept)
        _drop_own_frames(trace.__context__)
        trace = trace.__cause__
