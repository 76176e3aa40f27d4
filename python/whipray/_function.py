"""Definitions of functions and classes: from the driver's memory to the workers'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from whipray import _core, _session

_NAMESPACE = "functions"
_NAMES = "function_names"
_LARGE_BYTES = 1024 * 1024

ITSELF = b"itself"
"""Stands for the id of a definition inside its own pickle."""

_loading: list[bytes] = []


class Definition:
    """A function or class, and what its pickle is called in the cluster."""

    def __init__(self, target: Callable[..., Any] | type, kind: str) -> None:
        """``kind`` is what error messages call it: ``function`` or ``actor class``."""
        self.target = target
        self._kind = kind
        self._exported: tuple[str, bytes] | None = None
        self._being_pickled = False

    @property
    def name(self) -> str:
        """``module.qualified_name``."""
        return f"{self.target.__module__}.{self.target.__qualname__}"

    def export(self) -> bytes:
        """Make the definition known to the cluster, at the first call in it; its 28 byte id.

        Raises TypeError, naming the culprit, where it cannot be pickled, and ValueError where it is
        too large.
        """
        cluster = _session.current.info["session_name"]
        if self._exported is not None and self._exported[0] == cluster:
            return self._exported[1]
        pickled = self._pickle()
        import hashlib

        identity = hashlib.sha224(pickled).digest()
        _core.kv_send(_NAMESPACE, identity, pickled)
        _core.kv_send(_NAMES, identity, getattr(self.target, "__name__", "").encode())
        self._exported = (cluster, identity)
        return identity

    def _pickle(self) -> bytes:
        from whipray._serialization import dumps

        self._being_pickled = True
        try:
            pickled = dumps(self.target)
        except Exception as error:
            from whipray._unserializable import definition_not_serializable

            raise definition_not_serializable(self.target, error, self._kind, self.name) from error
        finally:
            self._being_pickled = False
        if len(pickled) > _LARGE_BYTES:
            from whipray._oversized import check_definition

            kind = "remote function" if self._kind == "function" else "actor"
            check_definition(self.target, pickled, kind, self.name)
        return pickled

    def known_as(self) -> tuple[str, bytes]:
        """Cluster and id for a copy of the definition elsewhere; empty where there are none yet."""
        if self._being_pickled:
            return "", ITSELF
        return self._exported or ("", b"")

    def is_known_as(self, cluster: str, identity: bytes) -> None:
        """Take over what :meth:`known_as` told the copy that this one was made from."""
        if identity == ITSELF:
            if not _loading:
                return
            cluster, identity = _session.current.info["session_name"], _loading[-1]
        if identity:
            self._exported = (cluster, identity)


def name_of(identity: bytes) -> str | None:
    """What the function or class with this id is called; None for an unknown one."""
    name = _core.kv_get(_NAMES, identity)
    return name.decode() if name else None


def load(identity: bytes) -> Any:
    """The function or class with this id, waiting until its owner has sent it."""
    from pickle import loads

    pickled = _core.kv_wait(_NAMESPACE, identity)
    _loading.append(identity)
    try:
        return loads(pickled)
    finally:
        _loading.pop()
