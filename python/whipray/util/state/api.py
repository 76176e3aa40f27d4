"""Lists, single entries and summaries of what is in the cluster now.

Answers come from those who know at the time of the question: control for actors, jobs, machines
and placement groups, the owners for tasks and objects. Of tries of tasks that are through each
owner remembers the last 10,000, for as long as it lives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Union

from whipray.util.state import _actors, _environments, _sources, _tasks, _workers
from whipray.util.state._asking import Filters, Row, ask, select
from whipray.util.state._logs import get_log, list_logs
from whipray.util.state.common import (
    DEFAULT_LIMIT,
    DEFAULT_RPC_TIMEOUT,
    ActorState,
    JobState,
    NodeState,
    ObjectState,
    PlacementGroupState,
    RuntimeEnvState,
    TaskState,
    WorkerState,
)

__all__ = [
    "get_actor",
    "get_job",
    "get_log",
    "get_node",
    "get_objects",
    "get_placement_group",
    "get_task",
    "get_worker",
    "list_actors",
    "list_jobs",
    "list_logs",
    "list_nodes",
    "list_objects",
    "list_placement_groups",
    "list_runtime_envs",
    "list_tasks",
    "list_workers",
    "summarize_actors",
    "summarize_objects",
    "summarize_tasks",
]


def list_actors(
    address: str | None = None,
    filters: Filters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[ActorState]:
    """The actors; ``filters`` are ``(column, "=" or "!=", value)``.

    ``detail`` fills all columns in. The cluster that the process is connected to answers; without
    one that of ``address``, or of this machine. ``timeout`` has no effect.

    Raises RayStateApiException for a column that there is not and for a ``limit`` above 10,000,
    ValueError for a malformed filter, ConnectionError where there is no cluster.
    """
    return select(
        ActorState, _actors.actors, address, filters, limit, detail, raise_on_missing_output
    )


def list_placement_groups(
    address: str | None = None,
    filters: Filters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[PlacementGroupState]:
    """The placement groups; see :func:`list_actors`."""
    return select(
        PlacementGroupState,
        _sources.placement_groups,
        address,
        filters,
        limit,
        detail,
        raise_on_missing_output,
    )


def list_nodes(
    address: str | None = None,
    filters: Filters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[NodeState]:
    """The machines; see :func:`list_actors`."""
    return select(
        NodeState, _sources.nodes, address, filters, limit, detail, raise_on_missing_output
    )


def list_jobs(
    address: str | None = None,
    filters: Filters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[JobState]:
    """The programs that run, and the last ones that are over; see :func:`list_actors`."""
    return select(JobState, _sources.jobs, address, filters, limit, detail, raise_on_missing_output)


def list_workers(
    address: str | None = None,
    filters: Filters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[WorkerState]:
    """The processes, and the last workers that have ended; see :func:`list_actors`."""
    return select(
        WorkerState, _workers.workers, address, filters, limit, detail, raise_on_missing_output
    )


def list_tasks(
    address: str | None = None,
    filters: Filters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[TaskState]:
    """The tasks that are under way, and the last ones that are through; see :func:`list_actors`.

    Raises RayStateApiException where a process does not answer, unless
    ``raise_on_missing_output=False``.
    """
    return select(TaskState, _tasks.tasks, address, filters, limit, detail, raise_on_missing_output)


def list_objects(
    address: str | None = None,
    filters: Filters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[ObjectState]:
    """The references of all processes; raises as :func:`list_tasks`."""
    return select(
        ObjectState, _sources.objects, address, filters, limit, detail, raise_on_missing_output
    )


def list_runtime_envs(
    address: str | None = None,
    filters: Filters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[RuntimeEnvState]:
    """The runtime environments of jobs that run and actors that live; see :func:`list_actors`."""
    return select(
        RuntimeEnvState,
        _environments.runtime_envs,
        address,
        filters,
        limit,
        detail,
        raise_on_missing_output,
    )


def _get(
    source: Callable[[], list[Row]], address: str | None, column: str, identity: str
) -> Row | None:
    rows = ask(source, address, raise_on_missing_output=False)
    return next((row for row in rows if row[column] == identity), None)


def get_actor(
    id: str,
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> ActorState | None:
    """The actor with this id and all of its columns, or None."""
    return _get(_actors.actors, address, "actor_id", id)


def get_job(
    id: str,
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> JobState | None:
    """The program with this id, or None."""
    return _get(_sources.jobs, address, "job_id", id)


def get_placement_group(
    id: str,
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> PlacementGroupState | None:
    """The placement group with this id, or None."""
    return _get(_sources.placement_groups, address, "placement_group_id", id)


def get_node(
    id: str,
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> NodeState | None:
    """The machine with this id, or None."""
    return _get(_sources.nodes, address, "node_id", id)


def get_worker(
    id: str,
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> WorkerState | None:
    """The process with this id, or None."""
    return _get(_workers.workers, address, "worker_id", id)


def get_task(
    id: Union[str, Any],
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> TaskState | list[TaskState] | None:
    """The task with this id, or that makes this object, or None where none is known (any more).

    Of one that was tried several times all tries, in their order.
    """
    identity: str = id if isinstance(id, str) else id.task_id().hex()
    rows = ask(_tasks.tasks, address, raise_on_missing_output=False)
    tries = [row for row in rows if row.task_id == identity]
    tries.sort(key=lambda row: row.attempt_number)
    return tries if len(tries) > 1 else next(iter(tries), None)


def get_objects(
    id: str,
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> list[ObjectState]:
    """All references to the object with this id."""
    rows = ask(_sources.objects, address, raise_on_missing_output=False)
    return [row for row in rows if row.object_id == id]


def _counted(values: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return counts


def _grouped(rows: Iterable[Row], column: str) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[column], []).append(row)
    return groups


def summarize_tasks(
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """Tasks by name and state; raises as :func:`list_tasks`."""
    rows = ask(_tasks.tasks, address, raise_on_missing_output)
    summary = {
        name: {
            "func_or_class_name": name,
            "type": group[0].type,
            "state_counts": _counted(row.state for row in group),
        }
        for name, group in _grouped(rows, "name").items()
    }
    types = _counted(row.type for row in rows)
    return _cluster(
        summary=summary,
        total_tasks=types.get("NORMAL_TASK", 0),
        total_actor_tasks=types.get("ACTOR_TASK", 0),
        total_actor_scheduled=types.get("ACTOR_CREATION_TASK", 0),
        summary_by="func_name",
    )


def summarize_actors(
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """Actors by class and state."""
    rows = ask(_actors.actors, address, raise_on_missing_output)
    summary = {
        name: {"class_name": name, "state_counts": _counted(row.state for row in group)}
        for name, group in _grouped(rows, "class_name").items()
    }
    return _cluster(summary=summary, total_actors=len(rows), summary_by="class")


def summarize_objects(
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """References by where the objects were made; raises as :func:`list_tasks`."""
    rows = ask(_sources.objects, address, raise_on_missing_output)
    summary = {
        site: {
            "total_objects": len(group),
            "total_size_mb": _megabytes(group),
            "total_num_workers": len({row.pid for row in group}),
            "total_num_nodes": len({row.ip for row in group}),
            "task_state_counts": _counted(row.task_status for row in group),
            "task_attempt_number_counts": _counted(str(row.attempt_number) for row in group),
            "ref_type_counts": _counted(row.reference_type for row in group),
        }
        for site, group in _grouped(rows, "call_site").items()
    }
    return _cluster(
        summary=summary,
        total_objects=len(rows),
        total_size_mb=_megabytes(rows),
        callsite_enabled=any(row.call_site != "disabled" for row in rows),
        summary_by="callsite",
    )


def _megabytes(rows: Iterable[ObjectState]) -> float:
    return sum(max(0, row.object_size) for row in rows) / 1024 / 1024


def _cluster(**summary: Any) -> dict[str, Any]:
    return {"cluster": summary}
