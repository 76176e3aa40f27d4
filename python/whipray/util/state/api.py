"""Lists, single entries and summaries of what is in the cluster now.

Answers come from those who know at the time of the question: control for actors, jobs, machines
and placement groups, the owners for tasks and objects. Of tasks that are through each owner
remembers the last 10,000, for as long as it lives.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any, Optional, TypeVar, Union

from whipray import _session
from whipray.util.state import _sources
from whipray.util.state.common import (
    ActorState,
    JobState,
    NodeState,
    ObjectState,
    PlacementGroupState,
    StateSchema,
    SupportedFilterType,
    TaskState,
    WorkerState,
)
from whipray.util.state.exception import RayStateApiException

__all__ = [
    "get_actor",
    "get_job",
    "get_node",
    "get_objects",
    "get_placement_group",
    "get_task",
    "get_worker",
    "list_actors",
    "list_jobs",
    "list_nodes",
    "list_objects",
    "list_placement_groups",
    "list_tasks",
    "list_workers",
    "summarize_actors",
    "summarize_objects",
    "summarize_tasks",
]

Filters = Optional[list[tuple[str, str, SupportedFilterType]]]
Row = TypeVar("Row", bound=StateSchema)

DEFAULT_RPC_TIMEOUT = 30
DEFAULT_LIMIT = 100
_LARGEST_LIMIT = 10_000


def _rows(source: Callable[[], list[Row]], raise_on_missing_output: bool) -> list[Row]:
    _session.ensure()
    try:
        return source()
    except _sources.Silent as silent:
        if raise_on_missing_output:
            raise RayStateApiException(
                f"The answer is not complete: {silent}. Give raise_on_missing_output=False to get "
                "what the others said."
            ) from None
        warnings.warn(f"The answer is not complete: {silent}.", stacklevel=3)
        return silent.rows


def _list(
    source: Callable[[], list[Row]],
    filters: Filters,
    limit: int,
    detail: bool,
    raise_on_missing_output: bool,
) -> list[Row]:
    if limit > _LARGEST_LIMIT:
        raise RayStateApiException(
            f"Given limit {limit} exceeds the supported limit {_LARGEST_LIMIT}."
        )
    for _, predicate, _ in filters or ():
        if predicate not in ("=", "!="):
            raise ValueError(
                f"Unsupported filter predicate {predicate} is given. Available predicates: =, !=."
            )
    rows = _rows(source, raise_on_missing_output)
    for column, predicate, value in filters or ():
        rows = [row for row in rows if _matches(row, column, predicate, value)]
    rows = rows[:limit]
    if not detail:
        for row in rows:
            for column in type(row).detail_columns():
                row[column] = None
    return rows


def _matches(row: StateSchema, column: str, predicate: str, value: SupportedFilterType) -> bool:
    if column not in type(row).columns():
        raise RayStateApiException(
            f"The column {column!r} cannot be filtered by. It can be any of "
            f"{sorted(type(row).columns())}."
        )
    actual = row[column]
    if isinstance(actual, bool):
        equal = actual == (
            value if isinstance(value, bool) else str(value).lower() in ("true", "1")
        )
    else:
        equal = str(actual).lower() == str(value).lower()
    return equal == (predicate == "=")


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

    ``detail`` fills all columns in. Raises RayStateApiException for a column that there is not.
    """
    return _list(_sources.actors, filters, limit, detail, raise_on_missing_output)


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
    return _list(_sources.placement_groups, filters, limit, detail, raise_on_missing_output)


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
    return _list(_sources.nodes, filters, limit, detail, raise_on_missing_output)


def list_jobs(
    address: str | None = None,
    filters: Filters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[JobState]:
    """The programs that run; see :func:`list_actors`."""
    return _list(_sources.jobs, filters, limit, detail, raise_on_missing_output)


def list_workers(
    address: str | None = None,
    filters: Filters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[WorkerState]:
    """The processes; see :func:`list_actors`."""
    return _list(_sources.workers, filters, limit, detail, raise_on_missing_output)


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
    return _list(_sources.tasks, filters, limit, detail, raise_on_missing_output)


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
    return _list(_sources.objects, filters, limit, detail, raise_on_missing_output)


def _get(source: Callable[[], list[Row]], column: str, identity: str) -> Row | None:
    rows = _rows(source, raise_on_missing_output=False)
    return next((row for row in rows if row[column] == identity), None)


def get_actor(
    id: str,
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> ActorState | None:
    """The actor with this id and all of its columns, or None."""
    return _get(_sources.actors, "actor_id", id)


def get_job(
    id: str,
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> JobState | None:
    """The program with this id, or None."""
    return _get(_sources.jobs, "job_id", id)


def get_placement_group(
    id: str,
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> PlacementGroupState | None:
    """The placement group with this id, or None."""
    return _get(_sources.placement_groups, "placement_group_id", id)


def get_node(
    id: str,
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> NodeState | None:
    """The machine with this id, or None."""
    return _get(_sources.nodes, "node_id", id)


def get_worker(
    id: str,
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> WorkerState | None:
    """The process with this id, or None."""
    return _get(_sources.workers, "worker_id", id)


def get_task(
    id: Union[str, Any],
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> TaskState | None:
    """The task with this id, or that makes this object, or None where none is known (any more)."""
    identity: str = id if isinstance(id, str) else id.task_id().hex()
    return _get(_sources.tasks, "task_id", identity)


def get_objects(
    id: str,
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> list[ObjectState]:
    """All references to the object with this id."""
    rows = _rows(_sources.objects, raise_on_missing_output=False)
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
    """Tasks by function and state; raises as :func:`list_tasks`."""
    rows = _rows(_sources.tasks, raise_on_missing_output)
    summary = {
        name: {
            "func_or_class_name": name,
            "type": group[0].type,
            "state_counts": _counted(row.state for row in group),
        }
        for name, group in _grouped(rows, "func_or_class_name").items()
    }
    actor_tasks = sum(row.type == "ACTOR_TASK" for row in rows)
    return _cluster(
        summary=summary,
        total_tasks=len(rows) - actor_tasks,
        total_actor_tasks=actor_tasks,
        total_actor_scheduled=0,
        summary_by="func_name",
    )


def summarize_actors(
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """Actors by class and state."""
    rows = _rows(_sources.actors, raise_on_missing_output)
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
    rows = _rows(_sources.objects, raise_on_missing_output)
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
