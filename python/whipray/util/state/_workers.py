"""Rows of processes: those that are there, and the last workers of each node that have ended."""

from __future__ import annotations

from typing import Any

from whipray import _core
from whipray.util.state._times import since_ms
from whipray.util.state.common import WorkerState

_EXIT_TYPES = {
    "ActorExit": "INTENDED_USER_EXIT",
    "ConstructorFailed": "USER_ERROR",
    "Killed": "INTENDED_SYSTEM_EXIT",
    "NodeDied": "INTENDED_SYSTEM_EXIT",
    "OutOfMemory": "NODE_OUT_OF_MEMORY",
    "OutOfScope": "INTENDED_SYSTEM_EXIT",
    "OwnerDied": "INTENDED_SYSTEM_EXIT",
    "PlacementGroupRemoved": "INTENDED_SYSTEM_EXIT",
}
"""By the kind of the engine's cause of death; others are errors of the system."""


_NOBODY = (None, None)


def workers() -> list[WorkerState]:
    """Drivers and workers."""
    reports = _core.reports(1)
    ips = {node["node_id"]: node["ip"] for node in _core.status()["nodes"]}
    debugged = _debugged()
    rows = [_ended(worker) for worker in reports["ended"]]
    rows.extend(_alive(worker, debugged) for worker in reports["workers"])
    rows.extend(
        WorkerState(
            worker_id=process["worker_id"],
            is_alive=True,
            worker_type="DRIVER",
            exit_type=None,
            node_id=process["node_id"],
            ip=ips.get(process["node_id"], reports["node_ip"]),
            pid=process["pid"],
            debugger_port=debugged.get(process["worker_id"], _NOBODY)[0],
            num_paused_threads=debugged.get(process["worker_id"], _NOBODY)[1],
        )
        for process in reports["processes"]
        if process["is_driver"]
    )
    return rows


def _alive(worker: dict[str, Any], debugged: dict[str, tuple[int, int]]) -> WorkerState:
    started_ms = since_ms(worker["worker_id"], worker["age_us"])
    return WorkerState(
        worker_id=worker["worker_id"],
        is_alive=worker["stage"] != "Ending",
        worker_type="WORKER",
        exit_type=None,
        node_id=worker["node_id"],
        ip=worker["node_ip"],
        pid=worker["pid"],
        worker_launch_time_ms=started_ms,
        start_time_ms=started_ms,
        debugger_port=debugged.get(worker["worker_id"], _NOBODY)[0],
        num_paused_threads=debugged.get(worker["worker_id"], _NOBODY)[1],
    )


def _ended(worker: dict[str, Any]) -> WorkerState:
    cause = worker["cause"]
    exit_type = _EXIT_TYPES.get(cause["kind"], "SYSTEM_ERROR")
    if cause["kind"] == "Exited" and cause["exit_code"] == 0:
        exit_type = "INTENDED_SYSTEM_EXIT"
    return WorkerState(
        worker_id=worker["worker_id"],
        is_alive=False,
        worker_type="WORKER",
        exit_type=exit_type,
        node_id=worker["node_id"],
        ip=worker["node_ip"],
        pid=cause["pid"],
        exit_detail=cause["description"],
        end_time_ms=since_ms(f"end of {worker['worker_id']}", worker["age_us"]),
    )


def _debugged() -> dict[str, tuple[int, int]]:
    """Where debuggers reach processes, by their ids: the port, and how many threads are stopped."""
    from whipray._debugger import breakpoints, editors

    found = {worker: (said["port"], len(said["tasks"])) for worker, said in editors.known().items()}
    for place in breakpoints.active().values():
        _, count = found.get(place.worker_id, (0, 0))
        port = int(place.pdb_address.rpartition(":")[2])
        found[place.worker_id] = (port, count + 1)
    return found
