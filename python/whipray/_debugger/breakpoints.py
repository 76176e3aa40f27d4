"""The breakpoints at which processes of the cluster wait, in its key-value store."""

from __future__ import annotations

import json
import time
import traceback
from dataclasses import asdict, dataclass
from typing import Any

from whipray import _core

NAMESPACE = "ray_pdb"
_PREFIX = "RAY_PDB_"
_ANNOUNCED = "NEXT_"
"""Of breakpoints at which nobody waits yet, since the debugger goes to another process."""


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
        cls,
        address: str,
        secret: str,
        place: tuple[str, int],
        exception: BaseException | None,
    ) -> Breakpoint:
        """That of this thread, at ``place``: a file and a line."""
        from whipray.runtime_context import get_runtime_context

        context = get_runtime_context()
        name = _core.current_name()
        return cls(
            pdb_address=address,
            secret=secret,
            proctitle=f"ray::{name}()" if name else "ray::DRIVER",
            filename=place[0],
            lineno=place[1],
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


def announce(identity: str, awaited: str) -> None:
    """Let the debugger know that it is to go on at a breakpoint which there is not yet.

    ``awaited`` is who will come there.
    """
    from whipray.runtime_context import get_runtime_context

    job = get_runtime_context().get_job_id()
    data = json.dumps({"job_id": job, "awaited": awaited}).encode()
    _core.kv_put(NAMESPACE, _announced(identity), data, True)


def withdraw_announcement(identity: str) -> None:
    """The breakpoint is there, or nobody will come."""
    _core.kv_delete(NAMESPACE, _announced(identity))


def awaited_at(identity: str) -> str | None:
    """Who will come to a breakpoint that was announced; None where nobody will.

    Nobody comes of a job that has ended: the announcement is forgotten then.
    """
    data = _core.kv_get(NAMESPACE, _announced(identity))
    if data is None:
        return None
    known = json.loads(data)
    if known["job_id"] not in _living_jobs():
        withdraw_announcement(identity)
        return None
    awaited: str = known["awaited"]
    return awaited


def find(identity: str) -> Breakpoint | None:
    """The breakpoint of this identity, where somebody waits at it."""
    data = _core.kv_get(NAMESPACE, _key(identity))
    return None if data is None else Breakpoint(**json.loads(data))


def active() -> dict[str, Breakpoint]:
    """The breakpoints of the jobs that live, the newest first, by identity.

    Those of jobs that have ended are forgotten on the way.
    """
    living = _living_jobs()
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


def _living_jobs() -> set[str]:
    return {job["job_id"].hex() for job in _core.status()["jobs"] if not job["is_over"]}


def _announced(identity: str) -> bytes:
    return f"{_ANNOUNCED}{identity}".encode()


def _key(identity: str) -> bytes:
    return f"{_PREFIX}{identity}".encode()
