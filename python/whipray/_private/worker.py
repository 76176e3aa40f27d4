"""What this process is to the cluster, under the name by which libraries ask for it."""

from __future__ import annotations

from whipray import SCRIPT_MODE, WORKER_MODE, _session
from whipray._ids import JobID

__all__ = ["SCRIPT_MODE", "WORKER_MODE", "Worker", "global_worker"]

_MODES = {_session.DRIVER: SCRIPT_MODE, _session.WORKER: WORKER_MODE}


class Worker:
    """The connection of this process, as it is at the time of the question."""

    @property
    def mode(self) -> int | None:
        """``SCRIPT_MODE`` in a driver, ``WORKER_MODE`` in a worker, None without a connection."""
        return _MODES.get(_session.current.role)

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return bool(_session.current.role)

    @property
    def namespace(self) -> str:
        """Where names of actors live."""
        return _session.current.namespace

    @property
    def current_job_id(self) -> JobID:
        """The job of this process. Raises RaySystemError without a connection."""
        _session.require("current_job_id")
        return JobID(_session.current.info["job_id"])


global_worker = Worker()
