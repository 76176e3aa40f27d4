"""The breakpoints at which processes of the cluster wait, in its key-value store."""

from __future__ import annotations

import json
import time
import traceback
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any

from whipray import _core

NAMESPACE = "ray_pdb"
_PREFIX = "RAY_PDB_"


@dataclass(frozen=True)
class Breakpoint:
    """Where a process waits for a debugger, and what lets one in. Ids are hexadecimal."""

    pdb_address: str
    """``host:port``, on the machine of ``node_id``."""
    secret: str
    """The first line that a debugger has to say."""
    proctitle: str
    filename: str
    lineno: int
    traceback: str
    """Of the exception at hand; ``NoneType: None`` and a newline where there is none."""
    timestamp: float
    """Seconds since the epoch."""
    job_id: str
    node_id: str
    worker_id: str
    actor_id: str | None
    task_id: str | None

    @classmethod
    def here(
        cls, address: str, secret: str, frame: FrameType, exception: BaseException | None
    ) -> Breakpoint:
        """That of this thread, at ``frame``."""
        from whipray.runtime_context import get_runtime_context

        context = get_runtime_context()
        name = _core.current_name()
        return cls(
            pdb_address=address,
            secret=secret,
            proctitle=f"ray::{name}()" if name else "ray::DRIVER",
            filename=frame.f_code.co_filename,
            lineno=frame.f_lineno,
            traceback=(
                "NoneType: None\n"
                if exception is None
                else "".join(
                    traceback.format_exception(type(exception), exception, exception.__traceback__)
                )
            ),
            timestamp=time.time(),
            job_id=context.get_job_id(),
            node_id=context.get_node_id(),
            worker_id=context.get_worker_id(),
            actor_id=context.get_actor_id(),
            task_id=context.get_task_id(),
        )

    def publish(self, identity: str) -> None:
        """Let debuggers find it, until :func:`withdraw`."""
        _core.kv_put(NAMESPACE, _key(identity), json.dumps(asdict(self)).encode(), True)


def withdraw(identity: str) -> None:
    """Forget a breakpoint, where it is known."""
    _core.kv_delete(NAMESPACE, _key(identity))


def active() -> dict[str, Breakpoint]:
    """The breakpoints of the jobs that live, the newest first, by identity.

    Those of jobs that have ended are forgotten on the way.
    """
    living = {job["job_id"].hex() for job in _core.status()["jobs"]}
    found: dict[str, Breakpoint] = {}
    for key in _core.kv_keys(NAMESPACE, _PREFIX.encode()):
        data = _core.kv_get(NAMESPACE, key)
        if data is None:
            continue  # Somebody attached in between.
        known: dict[str, Any] = json.loads(data)
        identity = key.decode()[len(_PREFIX) :]
        if known["job_id"] in living:
            found[identity] = Breakpoint(**known)
        else:
            withdraw(identity)
    return dict(sorted(found.items(), key=lambda item: item[1].timestamp, reverse=True))


def _key(identity: str) -> bytes:
    return f"{_PREFIX}{identity}".encode()
