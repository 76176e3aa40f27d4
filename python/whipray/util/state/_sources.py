"""Rows of nodes, jobs, placement groups, and objects, as control and owners describe them now."""

from __future__ import annotations

import json
from typing import Any

from whipray import _core
from whipray.util.state._reports import complete
from whipray.util.state._tasks import ENTRIES, STATES
from whipray.util.state._times import since_ms
from whipray.util.state.common import (
    JobState,
    NodeState,
    ObjectState,
    PlacementGroupState,
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
            labels={"ray.io/node-id": node["node_id"], **node["labels"]},
            start_time_ms=since_ms(node["node_id"], node["age_us"]),
            end_time_ms=None
            if node["alive"]
            else since_ms(f"end of {node['node_id']}", node["dead_since_us"]),
        )
        for node in _core.status()["nodes"]
    ]


_INTERNAL = "_ray_internal_"
"""How the namespaces of programs begin that are no users' ones."""

VISITORS = f"{_INTERNAL}state"
"""The namespace of programs that are connected for a question alone."""


def jobs() -> list[JobState]:
    """The programs that run, and the last ones that are over."""
    status = _core.status()
    ips = {node["node_id"]: node["ip"] for node in status["nodes"]}
    jobs = [job for job in status["jobs"] if not job["namespace"].startswith(_INTERNAL)]
    return [_job(job, ips) for job in jobs]


def _job(job: dict[str, Any], ips: dict[str, str]) -> JobState:
    identity = job["job_id"].hex()
    return JobState(
        job_id=identity,
        type="DRIVER",
        status="SUCCEEDED" if job["is_over"] else "RUNNING",
        entrypoint=job["entrypoint"],
        driver_info={
            "id": identity,
            "node_ip_address": ips.get(job["node_id"], ""),
            "pid": str(job["driver_pid"]),
        },
        start_time=since_ms(f"{job['node_id']} {identity}", job["age_us"]),
        end_time=since_ms(f"{job['node_id']} end of {identity}", job["over_since_us"])
        if job["is_over"]
        else None,
        metadata={},
        runtime_env=json.loads(job["runtime_env"] or "{}"),
        driver_node_id=job["node_id"],
    )


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
                "node_id": entry["bundles_to_node_id"][index],
                "label_selector": {},
            }
            for index, resources in entry["bundles"].items()
        ],
        is_detached=group["detached"],
        stats=entry["stats"],
        topology_strategy={},
        topology_assignments={},
    )


def _ips() -> dict[str, str]:
    return {node["node_id"]: node["ip"] for node in _core.status()["nodes"]}


def objects() -> list[ObjectState]:
    """The references of all processes."""
    reports = _core.reports(ENTRIES)
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
                status = STATES[task["stage"]]
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
    return complete(rows, reports)


def _reference_type(entry: dict[str, Any], holder: str) -> str:
    if entry["is_actor_handle"]:
        return "ACTOR_HANDLE"
    if entry["by_tasks"]:
        return "USED_BY_PENDING_TASK"
    if entry["is_shared"] and entry["is_pinned"]:
        return "PINNED_IN_MEMORY"
    if not entry["local"] and entry["by_objects"]:
        return "CAPTURED_IN_OBJECT"
    return "LOCAL_REFERENCE"
