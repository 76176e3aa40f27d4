"""Processes to which editors may attach, in the cluster's key-value store, for the state API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from whipray import _core

_NAMESPACE = "ray_debugpy"

_lock = threading.Lock()
_waiting: list[str | None] = []
"""The tasks of this process whose threads are stopped, or wait for an editor."""


@contextmanager
def stopped(port: int) -> Iterator[None]:
    """This thread is stopped, or waits for an editor to attach at a port, for this block."""
    if not _core.is_connected():
        yield
        return
    task = _core.context()["task_id"]
    task_id = task.hex() if task else None
    _publish(port, _waiting.append, task_id)
    try:
        yield
    finally:
        _publish(port, _waiting.remove, task_id)


def _publish(port: int, change: Any, task_id: str | None) -> None:
    with _lock:
        change(task_id)
        context = _core.context()
        said = {"job_id": context["job_id"].hex(), "port": port, "tasks": _waiting}
        _core.kv_put(_NAMESPACE, context["worker_id"], json.dumps(said).encode(), True)


def known() -> dict[str, dict[str, Any]]:
    """Of each process of the jobs that run, by its id, its ``port`` and its ``tasks`` that wait."""
    living = {job["job_id"].hex() for job in _core.status()["jobs"] if not job["is_over"]}
    found = {}
    for key in _core.kv_keys(_NAMESPACE, b""):
        data = _core.kv_get(_NAMESPACE, key)
        said = None if data is None else json.loads(data)
        if said is not None and said["job_id"] in living:
            found[key.hex()] = said
        else:
            _core.kv_delete(_NAMESPACE, key)
    return found
