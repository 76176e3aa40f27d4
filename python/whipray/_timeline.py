"""What has run where and when: ``whipray.timeline``."""

from __future__ import annotations

import json
from typing import Any

from whipray import _core, _session

__all__ = ["timeline"]


def timeline(filename: str | None = None) -> list[dict[str, Any]] | None:
    """The tasks, and calls and constructors of actors, that have run: a trace of events.

    The form is the Trace Event Format: one complete event for each, with ``ts`` and ``dur`` in
    microseconds, a row (``tid``) for each worker and a group of rows (``pid``) for each node.
    ``chrome://tracing`` and Perfetto show them.
    Owners remember the last 10,000 that came to their ends, for as long as they live.

    With ``filename`` the events are written to that file, and None is returned. Raises
    RuntimeError where the process is not connected, RaySystemError where the node does not answer,
    OSError where the file cannot be written.
    """
    if not _session.current.role:
        raise RuntimeError("Ray has not been started yet: timeline() comes after ray.init().")
    events = _core.timeline()
    if filename is None:
        told: list[dict[str, Any]] = json.loads(events)
        return told
    with open(filename, "w") as file:
        file.write(events)
    return None
