"""Rows of the state API from what control, nodes and owners say now."""

from __future__ import annotations

import json
import time
from typing import Any

from whipray import _core
from whipray.util.state.common import (
    ActorState,
    JobState,
    NodeState,
    ObjectState,
    PlacementGroupState,
    TaskState,
    WorkerState,
)

_ENTRIES = 10_000
_NO_ACTOR = "f" * 24

_TASK_STATES = {
    "WaitsForArguments": "PENDING_ARGS_AVAIL",
    "WaitsForLease": "PENDING_NODE_ASSIGNMENT",
    "WaitsForMemory": "PENDING_NODE_ASSIGNMENT",
    "BehindCall": "PENDING_ARGS_AVAIL",
    "WaitsForActor": "PENDING_NODE_ASSIGNMENT",
    "Pushed": "SUBMITTED_TO_WORKER",
}


_ERROR_TYPES = {
    "ActorDied": "ACTOR_DIED",
    "ActorUnavailable": "ACTOR_UNAVAILABLE",
    "ActorUnschedulable": "ACTOR_UNSCHEDULABLE_ERROR",
    "NodeDied": "NODE_DIED",
    "ObjectLost": "OBJECT_LOST",
    "OutOfDisk": "OUT_OF_DISK_ERROR",
    "OutOfMemory": "OUT_OF_MEMORY",
    "OwnerDied": "OWNER_DIED",
    "RuntimeEnvSetup": "RUNTIME_ENV_SETUP_FAILED",
    "TaskCancelled": "TASK_CANCELLED",
    "TaskGroupRemoved": "TASK_PLACEMENT_GROUP_REMOVED",
    "Unschedulable": "TASK_UNSCHEDULABLE_ERROR",
    "WorkerCrashed": "WORKER_DIED",
}
"""By the kind of the engine's failure."""


class Silent(Exception):
    """Processes that did not answer; ``rows`` are what the others said."""

    def __init__(self, rows: list[Any], names: list[str]) -> None:
        super().__init__(f"no answer from {', '.join(names)}")
        self.rows = rows


def actors() -> list[ActorState]:
    """All actors, dead ones included for as long as control remembers them."""
    return [_actor(entry) for entry in _core.status()["actors"]]


def _actor(entry: dict[str, Any]) -> ActorState:
    state = "DEPENDENCIES_UNREADY" if entry["waits_for_arguments"] else entry["state"]
    return ActorState(
        actor_id=entry["actor_id"],
        class_name=entry["class_name"],
        state=state,
        job_id=entry["job_id"],
        name=entry["name"],
        node_id=entry["node_id"],
        pid=entry["pid"],
        ray_namespace=entry["namespace"],
        required_resources=entry["resources"],
        death_cause=entry["cause"],
        is_detached=entry["detached"],
        num_restarts=entry["restarts"],
        num_restarts_due_to_lineage_reconstruction=0,
        num_restarts_due_to_node_preemption=0,
    )


def nodes() -> list[NodeState]:
    """All machines."""
    return [
        NodeState(
            node_id=node["node_id"],
            node_ip=node["ip"],
            is_head_node=node["is_head"],
            state="ALIVE" if node["alive"] else "DEAD",
            state_message=node["death"] or None,
            node_name=node["hostname"],
            resources_total=node["total"],
            labels=node["labels"],
        )
        for node in _core.status()["nodes"]
    ]


def jobs() -> list[JobState]:
    """The programs that run."""
    return [
        JobState(
            job_id=job["job_id"].hex(),
            type="DRIVER",
            status="RUNNING",
            entrypoint=job["entrypoint"],
            driver_info={"id": job["job_id"].hex(), "pid": str(job["driver_pid"])},
            runtime_env=json.loads(job["runtime_env"] or "{}"),
        )
        for job in _core.status()["jobs"]
    ]


def placement_groups() -> list[PlacementGroupState]:
    """All placement groups, removed ones included for as long as control remembers them."""
    from whipray.util.placement_group import description

    groups = _core.list_groups(None, "", "")
    return [_placement_group(group, description(group)) for group in groups]


def _placement_group(group: dict[str, Any], entry: dict[str, Any]) -> PlacementGroupState:
    identity = entry["placement_group_id"]
    return PlacementGroupState(
        placement_group_id=identity,
        name=entry["name"],
        creator_job_id=identity[-8:],
        state=entry["state"],
        bundles=[
            {
                "bundle_id": {"placement_group_id": identity, "bundle_index": index},
                "unit_resources": resources,
                "node_id": entry["bundles_to_node_id"][index] or None,
            }
            for index, resources in entry["bundles"].items()
        ],
        is_detached=group["detached"],
        stats=entry["stats"],
    )


def _complete(rows: list[Any], reports: dict[str, Any]) -> list[Any]:
    if reports["silent"]:
        names = [f"{silent['name']} (pid {silent['pid']})" for silent in reports["silent"]]
        raise Silent(rows, names)
    return rows


def workers() -> list[WorkerState]:
    """All processes that are there."""
    reports = _core.reports(1)
    ips = _ips()
    known = {worker["worker_id"]: worker for worker in reports["workers"]}
    rows = [
        WorkerState(
            worker_id=worker["worker_id"],
            is_alive=worker["stage"] != "Ending",
            worker_type="WORKER",
            exit_type=None,
            node_id=worker["node_id"],
            ip=worker["node_ip"],
            pid=worker["pid"],
        )
        for worker in known.values()
    ]
    rows.extend(
        WorkerState(
            worker_id=process["worker_id"],
            is_alive=True,
            worker_type="DRIVER",
            exit_type=None,
            node_id=process["node_id"],
            ip=ips.get(process["node_id"], reports["node_ip"]),
            pid=process["pid"],
        )
        for process in reports["processes"]
        if process["is_driver"]
    )
    return rows


def _ips() -> dict[str, str]:
    return {node["node_id"]: node["ip"] for node in _core.status()["nodes"]}


_GONE = ""
"""What stands for processes that are gone."""


def _places(reports: dict[str, Any]) -> dict[str, str | None]:
    """The nodes of processes; of one that is gone it is known where there is only one node."""
    places = {process["worker_id"]: process["node_id"] for process in reports["processes"]}
    is_alone = set(places.values()) <= {reports["node_id"]}
    return {**places, _GONE: reports["node_id"] if is_alone else None}


def tasks() -> list[TaskState]:
    """Tasks that are under way, and the last ones that are through."""
    reports = _core.reports(_ENTRIES, _ENTRIES)
    now_ms = time.time() * 1000
    pids = {process["worker_id"]: process["pid"] for process in reports["processes"]}
    places = _places(reports)
    running = {task for process in reports["processes"] for task, _ in process["running"]}
    blocked = {task for process in reports["processes"] for task in process["blocked"]}
    queued = {task for process in reports["processes"] for task in process["queued"]}
    rows = []
    for process in reports["processes"]:
        for task in process["tasks"]:
            state = _TASK_STATES[task["stage"]]
            if task["task_id"] in blocked:
                state = "RUNNING_IN_RAY_GET"
            elif task["task_id"] in running:
                state = "RUNNING"
            elif task["task_id"] in queued and task["is_actor_method"]:
                state = "PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY"
            rows.append(_task(task, state, places, pids, now_ms))
        rows.extend(_ended(task, places, pids) for task in process["ended"])
    return _complete(rows, reports)


def _task(
    task: dict[str, Any],
    state: str,
    places: dict[str, str | None],
    pids: dict[str, int],
    now_ms: float,
) -> TaskState:
    return TaskState(
        **_identity(task, places, pids),
        state=state,
        error_type=None,
        required_resources=task["resources"],
        creation_time_ms=int(now_ms - task["age_us"] / 1000),
    )


def _ended(task: dict[str, Any], places: dict[str, str | None], pids: dict[str, int]) -> TaskState:
    error_type = None
    if task["end"] == "Raised":
        error_type = "TASK_EXECUTION_EXCEPTION"
    elif task["end"] == "Failed":
        error_type = _ERROR_TYPES.get(task["failure"], "UNSPECIFIED")
    return TaskState(
        **_identity(task, places, pids),
        state="FAILED" if error_type else "FINISHED",
        error_type=error_type,
        creation_time_ms=task["submitted_at_us"] // 1000,
        start_time_ms=task["started_at_us"] // 1000 or None,
        end_time_ms=task["ended_at_us"] // 1000,
    )


def _identity(
    task: dict[str, Any], places: dict[str, str | None], pids: dict[str, int]
) -> dict[str, Any]:
    actor_id = None if task["actor_id"].startswith(_NO_ACTOR) else task["actor_id"]
    worker_id = task["worker_id"]
    return dict(
        task_id=task["task_id"],
        attempt_number=task["attempt"],
        name=task["name"],
        job_id=task["job_id"],
        actor_id=actor_id,
        type="ACTOR_TASK" if task["is_actor_method"] else "NORMAL_TASK",
        func_or_class_name=task["name"],
        parent_task_id=task["parent_task_id"],
        node_id=places.get(worker_id) or places[_GONE] if worker_id else None,
        worker_id=worker_id,
        worker_pid=pids.get(worker_id),
        language="PYTHON",
    )


def objects() -> list[ObjectState]:
    """The references of all processes."""
    reports = _core.reports(_ENTRIES)
    ips = _ips()
    # A borrower that never asked for the value does not know its size; the owner does.
    sizes = {
        entry["object_id"]: entry["size_bytes"]
        for process in reports["processes"]
        for entry in process["objects"]
        if entry["is_ready"] and entry["owner_id"] == process["worker_id"]
    }
    rows = []
    for process in reports["processes"]:
        pending = {task["task_id"]: task for task in process["tasks"]}
        for entry in process["objects"]:
            task = pending.get(entry["task_id"])
            status = "NIL"
            if task is not None:
                status = _TASK_STATES[task["stage"]]
            elif entry["object_id"] in sizes:
                status = "FINISHED"
            rows.append(
                ObjectState(
                    object_id=entry["object_id"],
                    object_size=sizes.get(entry["object_id"], -1),
                    task_status=status,
                    attempt_number=(task["attempt"] if task else 0) + 1,
                    reference_type=_reference_type(entry, process["worker_id"]),
                    call_site=entry["call_site"] or "disabled",
                    type="DRIVER" if process["is_driver"] else "WORKER",
                    pid=process["pid"],
                    ip=ips.get(process["node_id"], reports["node_ip"]),
                )
            )
    return _complete(rows, reports)


def _reference_type(entry: dict[str, Any], holder: str) -> str:
    if entry["is_actor_handle"]:
        return "ACTOR_HANDLE"
    if entry["by_tasks"]:
        return "USED_BY_PENDING_TASK"
    if entry["is_shared"] and (entry["owner_id"] == holder or entry["is_pinned"]):
        return "PINNED_IN_MEMORY"
    if not entry["local"] and entry["by_objects"]:
        return "CAPTURED_IN_OBJECT"
    return "LOCAL_REFERENCE"
