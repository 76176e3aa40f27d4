"""Where the hook for tracing is found: in the job, in the environment, or with the cluster."""

from __future__ import annotations

import os
from typing import Any

VARIABLE = "WHIPRAY_TRACING_STARTUP_HOOK"
"""The variable of the environment in which workers find the hook of their job or cluster."""

NAMESPACE = "tracing"
KEY = b"tracing_startup_hook"
"""In the key-value store: the hook of a cluster that was started with one."""

CONTEXT = "_ray_trace_ctx"
"""The keyword argument in which the context of a caller travels."""


def of_worker(job: dict[str, Any]) -> str | None:
    """The hook of the job that a worker is for; None where it is not traced."""
    hook = job["environment"].get(VARIABLE) or os.environ.get(VARIABLE)
    return hook or None


def begin_in_driver(hook: str | None, joined: bool) -> None:
    """Trace the calls of a driver that has just connected, where it has a hook (that is set up
    already) or has joined a cluster with one."""
    of_cluster = False
    if hook is None and joined:
        from whipray import _core

        data = _core.kv_get(NAMESPACE, KEY)
        if data:
            from whipray import _tracing

            hook, of_cluster = data.decode(), True
            _tracing.set_up(hook)
    if hook is not None:
        from whipray import _tracing

        _tracing.begin(of_cluster)
