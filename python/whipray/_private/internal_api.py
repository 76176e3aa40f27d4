"""Interventions into the engine, under the name by which programs know them."""

from __future__ import annotations

from typing import Any

from whipray import _core, _session
from whipray._core import ObjectRef


def free(object_refs: ObjectRef[Any] | list[ObjectRef[Any]], local_only: bool = False) -> None:
    """Let go of values now, although there are references to them; who gets one then fails.

    Values that other processes own, or that are not there yet, are left alone; whoever has a value
    mapped keeps it. With ``local_only`` just this machine's copy in shared memory goes: the value
    counts as lost, and is made again by its task where that may be tried again. Whoever asks after
    the return finds it so.

    Raises TypeError for what is no reference, or no list of them, RaySystemError where the node is
    gone.
    """
    if not _session.current.role:
        _session.ensure()
    references = [object_refs] if isinstance(object_refs, ObjectRef) else object_refs
    if not isinstance(references, list):
        raise TypeError(f"free() expects a list of ObjectRef, got {type(references)}")
    for reference in references:
        if not isinstance(reference, ObjectRef):
            raise TypeError(
                f"Attempting to call `free` on the value {reference!r}, which is not an "
                "ray.ObjectRef."
            )
    _core.free(references, local_only)
