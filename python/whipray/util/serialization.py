"""Serializers of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from whipray import _serialization

__all__ = ["deregister_serializer", "register_serializer"]


def register_serializer(
    cls: type, *, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]
) -> None:
    """Have this process write instances of exactly this class as ``serializer(instance)``.

    Whoever reads one calls ``deserializer`` with that. Other processes that write instances must
    register the class as well.
    """
    _serialization.register(cls, serializer, deserializer)


def deregister_serializer(cls: type) -> None:
    """Undo :func:`register_serializer` in this process; nothing happens where there was none."""
    _serialization.deregister(cls)
