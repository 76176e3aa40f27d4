"""Where values are, and how large."""

from __future__ import annotations

from typing import Any

from whipray import _core, _session
from whipray._core import ObjectRef
from whipray.runtime_context import get_runtime_context

__all__ = ["get_local_object_locations", "get_object_locations"]

_ENTRIES = 100_000
"""Objects of one process that are looked through."""


def get_object_locations(
    obj_refs: list[ObjectRef[Any]], timeout_ms: int = -1
) -> dict[ObjectRef[Any], dict[str, Any]]:
    """For each reference the ``node_ids`` of the machines that have the value in shared memory,
    its ``object_size`` in bytes, and whether it ``did_spill``.

    ``node_ids`` is empty for small values, which are with the process that owns them; the size of
    what is not there yet is None. Spilled values count as where they were, and are not told apart.
    The processes of the cluster are asked, which takes a few seconds at most: ``timeout_ms`` has
    no effect.

    Raises TypeError for what is no list of references.
    """
    _check(obj_refs)
    _session.ensure()
    known = _known_objects()
    return {reference: known.get(reference.hex(), _nowhere()) for reference in obj_refs}


def get_local_object_locations(
    obj_refs: list[ObjectRef[Any]],
) -> dict[ObjectRef[Any], dict[str, Any]]:
    """The same, as far as this process knows it."""
    _check(obj_refs)
    _session.ensure()
    known = _known_objects(get_runtime_context().get_worker_id())
    return {reference: known.get(reference.hex(), _nowhere()) for reference in obj_refs}


def _check(references: Any) -> None:
    if not isinstance(references, (list, tuple)) or not all(
        isinstance(reference, ObjectRef) for reference in references
    ):
        raise TypeError(f"obj_refs must be a list of ObjectRefs, not {references!r}")


def _nowhere() -> dict[str, Any]:
    return {"node_ids": [], "object_size": None, "did_spill": False}


def _known_objects(only_process: str | None = None) -> dict[str, dict[str, Any]]:
    """What processes say of the objects that are there, by the hexadecimal id."""
    reports = _core.reports(_ENTRIES)
    found: dict[str, dict[str, Any]] = {}
    for process in reports["processes"]:
        if only_process is not None and process["worker_id"] != only_process:
            continue
        for entry in process["objects"]:
            # A borrower that never asked for the value does not know its size; the owner does.
            is_owner = entry["owner_id"] == process["worker_id"]
            if entry["is_ready"] and (is_owner or entry["object_id"] not in found):
                found[entry["object_id"]] = {
                    "node_ids": entry["node_ids"],
                    "object_size": entry["size_bytes"],
                    "did_spill": False,
                }
    return found
