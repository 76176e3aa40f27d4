"""Rows of tasks, as their owners see them."""

from __future__ import annotations

import pickle
import time
from typing import Any

from whipray import _core, _function
from whipray.util.state._actors import creations
from whipray.util.state._reports import complete
from whipray.util.state._times import events_of
from whipray.util.state.common import TaskState

ENTRIES = 10_000
_NO_ACTOR = "f" * 24
_CREATION = "f" * 16
"""How the ids of tasks begin that create actors."""

STATES = {
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


def tasks() -> list[TaskState]:
    """Tasks that are under way, and the last ones that are through."""
    reports = _core.reports(ENTRIES, ENTRIES)
    view = _View(reports)
    rows = creations()
    for process in reports["processes"]:
        rows.extend(
            view.under_way(task)
            for task in process["tasks"]
            if not task["task_id"].startswith(_CREATION)
        )
        rows.extend(view.ended(task) for task in process["ended"])
    return complete(rows, reports)


class _View:
    """What all processes together say of tasks."""

    def __init__(self, reports: dict[str, Any]) -> None:
        processes = reports["processes"]
        self._now_ms = time.time() * 1000
        self._running = {task: age for process in processes for task, age in process["running"]}
        self._blocked = {task for process in processes for task in process["blocked"]}
        self._queued = {task for process in processes for task in process["queued"]}
        self._places = {process["worker_id"]: process["node_id"] for process in processes}
        self._pids = {worker["worker_id"]: worker["cause"]["pid"] for worker in reports["ended"]}
        self._pids.update({process["worker_id"]: process["pid"] for process in processes})
        status = _core.status()
        # The ids of a node's workers end as that of the node.
        self._nodes = {_end_of(node["node_id"]): node["node_id"] for node in status["nodes"]}
        self._classes = {actor["actor_id"]: actor["class_name"] for actor in status["actors"]}
        self._stopped = _stopped()
        self._functions: dict[bytes, str | None] = {}

    def under_way(self, task: dict[str, Any]) -> TaskState:
        identity = task["task_id"]
        state = STATES[task["stage"]]
        if identity in self._blocked:
            state = "RUNNING_IN_RAY_GET"
        elif identity in self._running:
            state = "RUNNING"
        elif identity in self._queued and task["is_actor_method"]:
            state = "PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY"
        created_ms = int(self._now_ms - task["age_us"] / 1000)
        age_us = self._running.get(identity)
        started_ms = None if age_us is None else int(self._now_ms - age_us / 1000)
        return TaskState(
            **self._identity(task),
            state=state,
            error_type=None,
            required_resources=task["resources"],
            creation_time_ms=created_ms,
            start_time_ms=started_ms,
            events=events_of(created_ms, started_ms, None),
        )

    def ended(self, task: dict[str, Any]) -> TaskState:
        error_type = None
        if task["end"] == "Raised":
            error_type = "TASK_EXECUTION_EXCEPTION"
        elif task["end"] == "Failed":
            error_type = _ERROR_TYPES.get(task["failure"], "UNSPECIFIED")
        state = "FAILED" if error_type else "FINISHED"
        created_ms = task["submitted_at_us"] // 1000
        started_ms = task["started_at_us"] // 1000 or None
        ended_ms = task["ended_at_us"] // 1000
        return TaskState(
            **self._identity(task),
            state=state,
            error_type=error_type,
            creation_time_ms=created_ms,
            start_time_ms=started_ms,
            end_time_ms=ended_ms,
            events=events_of(created_ms, started_ms, (state, ended_ms)),
            error_message=_error_message(task),
        )

    def _identity(self, task: dict[str, Any]) -> dict[str, Any]:
        actor_id = None if task["actor_id"].startswith(_NO_ACTOR) else task["actor_id"]
        worker_id = task["worker_id"]
        node_id = None
        if worker_id:
            node_id = self._places.get(worker_id) or self._nodes.get(_end_of(worker_id))
        return dict(
            task_id=task["task_id"],
            attempt_number=task["attempt"],
            name=task["name"],
            job_id=task["job_id"],
            actor_id=actor_id,
            type="ACTOR_TASK" if task["is_actor_method"] else "NORMAL_TASK",
            func_or_class_name=self._function(task),
            parent_task_id=task["parent_task_id"],
            node_id=node_id,
            worker_id=worker_id,
            worker_pid=self._pids.get(worker_id),
            language="PYTHON",
            placement_group_id=task["group_id"],
            is_debugger_paused=True if task["task_id"] in self._stopped else None,
        )

    def _function(self, task: dict[str, Any]) -> str:
        if task["is_actor_method"]:
            class_name = self._classes.get(task["actor_id"])
            return f"{class_name}.{task['method']}" if class_name else task["name"]
        identity = task["function"]
        if identity not in self._functions:
            self._functions[identity] = _function.name_of(identity)
        return self._functions[identity] or task["name"]


def _stopped() -> set[str | None]:
    """The tasks that wait at breakpoints."""
    from whipray._debugger import breakpoints, editors

    found = {task for said in editors.known().values() for task in said["tasks"]}
    return found | {place.task_id for place in breakpoints.active().values()}


def _end_of(identity: str) -> str:
    return identity[16:]


def _error_message(task: dict[str, Any]) -> str | None:
    """What of a task's error was remembered; of the exception only its text is read."""
    if not task["error"]:
        return None
    if task["end"] == "Failed":
        return str(task["error"].decode(errors="replace"))
    from whipray.exceptions import RayError, RayTaskError

    try:
        described, _ = pickle.loads(task["error"])
        return f"User exception:\n{RayTaskError(cause=RayError(), **described)}"
    except Exception:
        return None
