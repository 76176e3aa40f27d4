"""A key-value store that the cluster shares: small things that libraries leave for each other.

Keys, values and namespaces are bytes, or text that stands for its UTF-8. What is written stays
until it is deleted, or the cluster ends.
"""

from __future__ import annotations

from typing import Union

from whipray import _core, _session

__all__ = [
    "_internal_kv_del",
    "_internal_kv_exists",
    "_internal_kv_get",
    "_internal_kv_initialized",
    "_internal_kv_list",
    "_internal_kv_put",
]

_Text = Union[str, bytes]

_PREFIX = "user/"
"""Namespaces of programs; the engine has others of its own."""


def _internal_kv_initialized() -> bool:
    """Whether this process is connected to a cluster, and so to its store."""
    return bool(_session.current.role)


def _internal_kv_get(key: _Text, *, namespace: _Text | None = None) -> bytes | None:
    """The value of a key, None where there is none; raises as :func:`_internal_kv_put`."""
    return _core.kv_get(_space(namespace), _bytes(key, "key"))


def _internal_kv_exists(key: _Text, *, namespace: _Text | None = None) -> bool:
    """Whether a key is there; raises as :func:`_internal_kv_put`."""
    return _core.kv_exists(_space(namespace), _bytes(key, "key"))


def _internal_kv_put(
    key: _Text, value: _Text, overwrite: bool = True, *, namespace: _Text | None = None
) -> bool:
    """Write a key, or leave it as it is where it is there and ``overwrite`` is False.

    Returns whether it was there before. Raises TypeError for what is neither bytes nor text,
    RaySystemError where the process is not connected or the cluster does not answer.
    """
    space = _space(namespace)
    return _core.kv_put(space, _bytes(key, "key"), _bytes(value, "value"), overwrite)


def _internal_kv_del(
    key: _Text, *, del_by_prefix: bool = False, namespace: _Text | None = None
) -> int:
    """Delete a key, or all that begin with it; returns how many there were. Raises as
    :func:`_internal_kv_put`."""
    space, key = _space(namespace), _bytes(key, "key")
    keys = _core.kv_keys(space, key) if del_by_prefix else [key]
    return sum(_core.kv_delete(space, each) for each in keys)


def _internal_kv_list(prefix: _Text, *, namespace: _Text | None = None) -> list[bytes]:
    """The keys that begin with ``prefix``, in no order; raises as :func:`_internal_kv_put`."""
    return _core.kv_keys(_space(namespace), _bytes(prefix, "prefix"))


def _space(namespace: _Text | None) -> str:
    text = "" if namespace is None else namespace
    return _PREFIX + _bytes(text, "namespace").decode()


def _bytes(value: _Text, what: str) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise TypeError(f"{what} must be bytes or text, not {type(value).__name__}")
