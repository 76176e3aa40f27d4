"""What the holder of a handle must know of an actor's class: its methods and their options."""

from __future__ import annotations

import functools
import types
from dataclasses import dataclass
from typing import Any

from whipray import _generators, _signature
from whipray._signature import Signature

METHOD_OPTIONS = "__whipray_method_options__"
"""Attribute in which :func:`whipray.method` leaves its options on a function."""

_COROUTINE_FLAGS = 0x80 | 0x200

HIDDEN_METHODS = {
    "__ray_ready__": Signature((), 0, 0, (), False, False),
    "__ray_call__": Signature(("fn",), 1, 0, (), True, True),
    "__ray_terminate__": Signature((), 0, 0, (), False, False),
}
"""Methods that every actor has, though its class does not define them."""


@dataclass(frozen=True)
class Method:
    """One method: the calls that it takes (without ``self``), and the options of its definition."""

    signature: Signature
    options: dict[str, Any]
    generates: bool = False
    """Whether it is written with ``yield``."""


@dataclass(frozen=True)
class Description:
    """A class of actors, as it travels with every handle.

    ``class_name`` is qualified by what the class is defined in; ``max_task_retries`` is the
    actor's, ``max_pending_calls`` is 0 where there is no limit, ``generator_window`` is the bound
    of what its generators make ahead, ``out_of_order`` says that calls may overtake others that
    wait for their arguments.
    """

    class_name: str
    module: str
    function_id: bytes
    methods: dict[str, Method]
    max_task_retries: int
    concurrency_groups: tuple[str, ...]
    max_pending_calls: int
    generator_window: int | None = None
    out_of_order: bool = False

    @property
    def short_name(self) -> str:
        """The name of the class alone."""
        return self.class_name.rpartition(".")[2]

    def check_group(self, group: str | None) -> None:
        """Raises ValueError for a concurrency group that the class does not have."""
        if group and group not in self.concurrency_groups:
            raise ValueError(
                f"The actor class {self.class_name} has no concurrency group {group!r}; it has "
                f"{list(self.concurrency_groups)}."
            )

    def dump(self) -> bytes:
        """The bytes from which :func:`load` makes it again."""
        from whipray._serialization import dumps

        return dumps(self)


@functools.lru_cache(maxsize=512)
def load(data: bytes) -> Description:
    """The description of these bytes."""
    from pickle import loads

    description: Description = loads(data)
    return description


def methods_of(cls: type) -> dict[str, Method]:
    """All methods of a class that an actor answers, by name."""
    methods = {name: Method(signature, {}) for name, signature in HIDDEN_METHODS.items()}
    for kind in reversed(cls.__mro__):
        if kind is object:
            continue
        for name, value in vars(kind).items():
            function = _unwrapped(value)
            if isinstance(function, functools.partialmethod):
                methods[name] = Method(_signature.ANYTHING, {})
                continue
            if not isinstance(function, types.FunctionType):
                continue
            signature = _signature.of(function)
            if not isinstance(value, staticmethod):
                signature = _signature.without_first(signature)
            options = getattr(function, METHOD_OPTIONS, {})
            methods[name] = Method(signature, options, _generators.is_generator(function))
    return methods


def is_async(cls: type) -> bool:
    """Whether a method of the class is a coroutine, so that all run in an event loop."""
    for kind in cls.__mro__:
        for value in vars(kind).values():
            function = _unwrapped(value)
            if isinstance(function, types.FunctionType) and (
                function.__code__.co_flags & _COROUTINE_FLAGS
            ):
                return True
    return False


def _unwrapped(value: Any) -> Any:
    return value.__func__ if isinstance(value, (staticmethod, classmethod)) else value


def constructor_signature(cls: type) -> Signature:
    """The calls that ``cls(...)`` takes."""
    for kind in cls.__mro__:
        constructor = vars(kind).get("__init__")
        if kind is object:
            break
        if isinstance(constructor, types.FunctionType):
            return _signature.without_first(_signature.of(constructor))
        if constructor is not None or "__new__" in vars(kind):
            return _signature.ANYTHING
    return Signature((), 0, 0, (), False, False)
