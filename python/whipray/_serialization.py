"""The general serializer: cloudpickle with out-of-band buffers, and the references inside values.

Values of plain built-in types never come here; the compiled core writes those itself.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle

PROTOCOL = 5

_custom: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {}


class _Pickler(cloudpickle.Pickler):
    """cloudpickle's, with the serializers that the user registered in this process."""

    def reducer_override(self, obj: Any) -> Any:
        custom = _custom.get(type(obj))
        if custom is not None:
            serializer, deserializer = custom
            return deserializer, (serializer(obj),)
        return super().reducer_override(obj)


def dumps(value: Any, buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = None) -> bytes:
    """The pickle of a value, also of functions and classes that no other process can import.

    Raises whatever the value's own reducers raise; TypeError or pickle.PicklingError in most cases.
    """
    with io.BytesIO() as file:
        pickler = (_Pickler if _custom else cloudpickle.Pickler)(
            file, protocol=PROTOCOL, buffer_callback=buffer_callback
        )
        pickler.dump(value)
        return file.getvalue()


def dumps_with_buffers(value: Any) -> tuple[bytes, list[pickle.PickleBuffer]]:
    """The pickle of a value without its large buffers, and those buffers."""
    buffers: list[pickle.PickleBuffer] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        try:
            buffer.raw()
        except BufferError:
            return True  # Not contiguous: it has to be copied into the pickle.
        buffers.append(buffer)
        return False

    return dumps(value, keep), buffers


def register(
    cls: type, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]
) -> None:
    """Use these two functions for instances of exactly this class, in this process."""
    _custom[cls] = (serializer, deserializer)


def deregister(cls: type) -> None:
    """Undo :func:`register`; nothing happens where there was none."""
    _custom.pop(cls, None)
