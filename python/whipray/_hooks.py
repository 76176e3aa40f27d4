"""What the compiled core asks of Python in every process that uses it.

Only the functions that are called import what they need: importing this module costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pickle import PickleBuffer


def to_exception(
    kind: str, message: str, subject: str, cause: dict[str, Any] | None, exception: bytes
) -> BaseException:
    """The exception of a failure that the engine itself reports."""
    from whipray._failures import to_exception

    return to_exception(kind, message, subject, cause, exception)


def load_error(data: Any) -> BaseException:
    """The exception that a task left in place of its value."""
    from whipray._task_errors import load_error

    return load_error(bytes(data))


def is_failure(value: BaseException) -> bool:
    """Whether an exception that is a value is raised where the value is asked for."""
    from whipray.exceptions import RayError

    return isinstance(value, RayError)


def unreadable_value(error: BaseException) -> BaseException:
    """The error that stands for a value whose unpickling raised ``error``."""
    from whipray._task_errors import format_error
    from whipray.exceptions import RaySystemError

    seen = RaySystemError(error, format_error(error))
    seen.__cause__ = error
    return seen


def pickle(value: Any) -> tuple[bytes, list[PickleBuffer]]:
    """The general serializer."""
    from whipray._serialization import dumps_with_buffers

    return dumps_with_buffers(value)


def explain_unserializable(error: BaseException, value: Any, role: str, name: str) -> BaseException:
    """The error that the user sees where :func:`pickle` raised ``error``."""
    from whipray._unserializable import value_not_serializable

    return value_not_serializable(error, value, role, name)


def note_large_argument(value: Any, size_bytes: int, task: str, place: str) -> None:
    """An argument above 1 MiB is passed by value; ``place`` is its number or keyword."""
    from whipray._oversized import note_argument

    note_argument(value, size_bytes, task, place)


def call_site() -> str:
    """Where the user's code is: ``file:function:line``."""
    import sys
    from types import FrameType

    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] == "whipray":
        frame = frame.f_back
    if frame is None:
        return ""
    code = frame.f_code
    return f"{code.co_filename}:{code.co_name}:{frame.f_lineno}"


def make_id(name: str, binary: bytes) -> Any:
    """An id object; ``name`` is that of its class."""
    from whipray import _ids

    return getattr(_ids, name)(binary)
