"""What this process knows about the cluster that it is connected to; one state per process."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whipray._daemon import Daemon
    from whipray._events import EventReader

DRIVER = "driver"
WORKER = "worker"


class Session:
    """The connection of this process, or its absence (``role`` is empty)."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.clear()

    def clear(self) -> None:
        """Forget the connection."""
        self.role = ""
        self.info: dict[str, Any] = {}
        self.namespace = ""
        self.runtime_env: dict[str, Any] = {}
        self.job_runtime_env: dict[str, Any] = {}
        self.detached_actors = False
        self.daemon: Daemon | None = None
        self.events: EventReader | None = None

    def enter(self, role: str, info: dict[str, Any], namespace: str) -> None:
        """Remember a connection that was just made."""
        self.role, self.info, self.namespace = role, info, namespace


current = Session()


def ensure() -> None:
    """Connect this process as :func:`whipray.init` without arguments does, unless it is connected.

    Raises RaySystemError where ``RAY_ENABLE_AUTO_CONNECT=0`` forbids it.
    """
    if current.role:
        return
    if os.environ.get("RAY_ENABLE_AUTO_CONNECT", "") == "0":
        from whipray.exceptions import RaySystemError

        raise RaySystemError("Ray has not been started yet. You can start Ray with 'ray.init()'.")
    from whipray._init import init

    with current.lock:
        if not current.role:  # Another thread may have been here first.
            init()


def require(what: str) -> None:
    """Raise RaySystemError, naming ``what`` is tried, where the process is not connected."""
    if not current.role:
        from whipray.exceptions import RaySystemError

        raise RaySystemError(
            f"Ray has not been started yet. Trying to use {what} before ray.init() has been called."
        )


def _after_fork_in_child() -> None:
    # The core has let go of the parent's connection. A forked child must not keep the parent's
    # cluster alive either, and it may connect for itself.
    current.lock = threading.RLock()
    if current.role:
        if current.daemon is not None:
            current.daemon.abandon()
        current.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
