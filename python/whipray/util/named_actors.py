"""The actors that have names."""

from __future__ import annotations

from typing import Any

from whipray import _core, _session

__all__ = ["list_named_actors"]


def list_named_actors(all_namespaces: bool = False) -> list[Any]:
    """Names of the live actors of this job's namespace.

    With ``all_namespaces`` dictionaries with ``name`` and ``namespace``, of the whole cluster.
    Raises RaySystemError before ``init``.
    """
    _session.require("state API")
    found = _core.list_named_actors(_session.current.namespace, all_namespaces)
    if all_namespaces:
        return [{"name": name, "namespace": namespace} for name, namespace in found]
    return [name for name, _ in found]
