"""Rows of actors, and of the tasks that create them."""

from __future__ import annotations

from typing import Any

from whipray import _core
from whipray.util.state._environments import environment_of_actor
from whipray.util.state._times import events_of, since_ms
from whipray.util.state.common import ActorState, TaskState


def actors() -> list[ActorState]:
    """All actors, dead ones included for as long as control remembers them."""
    status = _core.status()
    ips = {node["node_id"]: node["ip"] for node in status["nodes"]}
    return [_actor(entry, ips) for entry in status["actors"]]


def _actor(entry: dict[str, Any], ips: dict[str, str]) -> ActorState:
    cause = entry["cause"] or {}
    return ActorState(
        actor_id=entry["actor_id"],
        class_name=entry["class_name"],
        state="DEPENDENCIES_UNREADY" if entry["waits_for_arguments"] else entry["state"],
        job_id=entry["job_id"],
        name=entry["name"],
        node_id=_node_id(entry),
        pid=entry["pid"] or cause.get("pid", 0),
        ray_namespace=entry["namespace"],
        serialized_runtime_env=environment_of_actor(entry),
        required_resources=entry["resources"],
        death_cause=_death_cause(entry, ips),
        is_detached=entry["detached"],
        placement_group_id=entry["group_id"],
        repr_name=entry["shown_as"],
        num_restarts=entry["restarts"],
        num_restarts_due_to_lineage_reconstruction=0,
        num_restarts_due_to_node_preemption=entry["restarts_by_drains"],
        label_selector=entry["label_selector"] or {},
    )


_NOWHERE = "0" * 56


def _node_id(entry: dict[str, Any]) -> str | None:
    """The node of an actor; of a dead one that where it was."""
    last = (entry["cause"] or {}).get("node_id") if entry["state"] == "DEAD" else None
    return entry["node_id"] or (None if last == _NOWHERE else last)


_REASONS = {
    "Killed": "RAY_KILL",
    "OutOfScope": "OUT_OF_SCOPE",
    "OwnerDied": "OWNER_DIED",
    "NodeDied": "NODE_DIED",
}
"""By the kind of the engine's cause; others are deaths of the process."""


def _death_cause(entry: dict[str, Any], ips: dict[str, str]) -> dict[str, Any] | None:
    cause = entry["cause"]
    if cause is None or entry["state"] == "ALIVE":
        return None
    if cause["kind"] == "ConstructorFailed":
        text = cause["description"]
        context = {**cause, "formatted_exception_string": text, "language": "PYTHON"}
        return {"creation_task_failure_context": context}
    if cause["kind"] in ("Unschedulable", "PlacementGroupRemoved"):
        context = {**cause, "error_message": cause["description"]}
        return {"actor_unschedulable_context": context}
    return {
        "actor_died_error_context": {
            **cause,
            "error_message": cause["description"],
            "reason": _REASONS.get(cause["kind"], "WORKER_DIED"),
            "owner_id": entry["owner_id"],
            "node_ip_address": cause["node_ip"] or ips.get(cause["node_id"], ""),
            "class_name": entry["class_name"],
            "actor_id": entry["actor_id"],
            "name": entry["name"],
            "ray_namespace": entry["namespace"],
            "never_started": not cause["pid"],
        }
    }


def creations() -> list[TaskState]:
    """The tasks that create actors, one for each actor: its last try."""
    return [_creation(entry) for entry in _core.status()["actors"]]


def _creation(entry: dict[str, Any]) -> TaskState:
    cause = entry["cause"] or {}
    state, error_type, message = _creation_state(entry), None, None
    if state == "FAILED":
        has_raised = cause["kind"] == "ConstructorFailed"
        error_type = "TASK_EXECUTION_EXCEPTION" if has_raised else "ACTOR_DIED"
        message = cause["description"]
    name = f"{entry['class_name']}.__init__"
    created_ms = since_ms(f"creation of {entry['actor_id']}", entry["age_us"])
    started_ms = entry["started_at_us"] // 1000 or None
    ended_ms = entry["ended_at_us"] // 1000 or None
    if state not in ("FINISHED", "FAILED"):
        # Those of the life before.
        started_ms = ended_ms = None
    end = (state, ended_ms) if ended_ms else None
    return TaskState(
        task_id="f" * 16 + entry["actor_id"],
        attempt_number=entry["restarts"],
        name=f"{entry['name']}:{name}" if entry["name"] else name,
        state=state,
        job_id=entry["job_id"],
        actor_id=entry["actor_id"],
        type="ACTOR_CREATION_TASK",
        func_or_class_name=name,
        parent_task_id=entry["parent_task_id"],
        node_id=_node_id(entry),
        worker_id=entry["worker_id"] or cause.get("worker_id"),
        worker_pid=entry["pid"] or cause.get("pid") or None,
        error_type=error_type,
        language="PYTHON",
        required_resources=entry["resources"],
        creation_time_ms=created_ms,
        start_time_ms=started_ms,
        end_time_ms=ended_ms,
        events=events_of(created_ms, started_ms, end),
        runtime_env_info={"serialized_runtime_env": environment_of_actor(entry)},
        placement_group_id=entry["group_id"],
        error_message=message,
        label_selector=entry["label_selector"] or {},
    )


def _creation_state(entry: dict[str, Any]) -> str:
    if entry["state"] == "ALIVE":
        return "FINISHED"
    if entry["state"] == "DEAD":
        cause = entry["cause"]
        was_alive = cause["kind"] != "ConstructorFailed" and cause["pid"]
        return "FINISHED" if was_alive else "FAILED"
    if entry["waits_for_arguments"]:
        return "PENDING_ARGS_AVAIL"
    return "RUNNING" if entry["is_starting"] else "PENDING_NODE_ASSIGNMENT"
