"""Types that are both :class:`RayTaskError` and the type of what user code raised."""

from __future__ import annotations

import functools
from typing import Any

from whipray.exceptions import RayTaskError


def dual(error: RayTaskError) -> RayTaskError:
    """``error`` as an instance of the type of its cause as well.

    Raises TypeError where no type can derive from both.
    """
    cause_type: Any = type(error.cause)  # Types of exceptions are hashable; the checker doubts it.
    kind = _dual_type(cause_type)
    instance: RayTaskError = kind.__new__(kind, error.cause)
    instance.__dict__.update(error.__dict__)
    instance.args = (error.cause,)
    for name in _built_in_fields(cause_type):
        setattr(instance, name, getattr(error.cause, name, None))
    return instance


@functools.lru_cache(maxsize=256)
def _built_in_fields(cause_type: type[BaseException]) -> tuple[str, ...]:
    """Names of what built-in types such as OSError keep outside of the instance's dictionary."""
    return tuple(
        name
        for base in cause_type.__mro__
        for name, value in vars(base).items()
        if type(value).__name__ == "member_descriptor"
        and not name.startswith("__")
        and not hasattr(base, "derive")  # Those of a group are set where it is made.
    )


@functools.lru_cache(maxsize=256)
def _dual_type(cause_type: type[BaseException]) -> type[RayTaskError]:
    def getattr_of_cause(self: Any, name: str) -> Any:
        # What the user's exception carries; looked up only where this object itself has no such
        # name.
        if name == "cause":
            raise AttributeError(name)
        return getattr(self.cause, name)

    heap_type = 1 << 9
    built_in = next(base for base in cause_type.__mro__ if not base.__flags__ & heap_type)

    def new(cls: Any, cause: Any, *_args: Any) -> Any:
        # Not the constructor of the user's type, which may want arguments that nobody knows.
        if hasattr(built_in, "derive"):  # A group of exceptions is made with its members.
            return built_in.__new__(cls, cause.message, cause.exceptions)  # type: ignore[call-overload]
        if built_in is MemoryError:  # Its own constructor makes no instances of other bases.
            return BaseException.__new__(cls)
        return built_in.__new__(cls)  # type: ignore[call-overload]

    name = f"RayTaskError({cause_type.__name__})"
    kind: type[RayTaskError] = type(
        name,
        (RayTaskError, cause_type),
        {
            "__module__": RayTaskError.__module__,
            "__qualname__": name,
            "__doc__": cause_type.__doc__,
            "__new__": new,
            "__getattr__": getattr_of_cause,
            "__str__": RayTaskError.__str__,
            "__reduce__": _reduce,
        },
    )
    return kind


def _reduce(error: RayTaskError) -> tuple[Any, ...]:
    return _rebuild, RayTaskError.__reduce__(error)[1]


def _rebuild(*fields: Any) -> RayTaskError:
    return RayTaskError(*fields).as_instanceof_cause()
