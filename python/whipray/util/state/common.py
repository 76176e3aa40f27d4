"""What the state API returns: one dataclass for each kind of thing, with the columns of Ray's.

Columns that this engine has nothing to say in are None.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from whipray.util.state._questions import (
    DEFAULT_LIMIT,
    DEFAULT_RPC_TIMEOUT,
    RAY_MAX_LIMIT_FROM_API_SERVER,
    GetApiOptions,
    ListApiOptions,
    StateResource,
    SummaryApiOptions,
    SummaryResource,
    SupportedFilterType,
)

__all__ = [
    "DEFAULT_LIMIT",
    "DEFAULT_RPC_TIMEOUT",
    "RAY_MAX_LIMIT_FROM_API_SERVER",
    "ActorState",
    "GetApiOptions",
    "JobState",
    "ListApiOptions",
    "NodeState",
    "ObjectState",
    "PlacementGroupState",
    "RuntimeEnvState",
    "StateResource",
    "StateSchema",
    "SummaryApiOptions",
    "SummaryResource",
    "SupportedFilterType",
    "TaskState",
    "TypeActorStatus",
    "TypeNodeStatus",
    "TypePlacementGroupStatus",
    "TypeReferenceType",
    "TypeTaskStatus",
    "TypeTaskType",
    "TypeWorkerExitType",
    "TypeWorkerType",
    "WorkerState",
]

TypeActorStatus = Literal["DEPENDENCIES_UNREADY", "PENDING_CREATION", "ALIVE", "RESTARTING", "DEAD"]
TypeNodeStatus = Literal["ALIVE", "DEAD"]
TypePlacementGroupStatus = Literal["PENDING", "PREPARED", "CREATED", "REMOVED", "RESCHEDULING"]
TypeReferenceType = Literal[
    "ACTOR_HANDLE",
    "PINNED_IN_MEMORY",
    "LOCAL_REFERENCE",
    "USED_BY_PENDING_TASK",
    "CAPTURED_IN_OBJECT",
    "UNKNOWN_STATUS",
]
TypeTaskStatus = Literal[
    "NIL",
    "PENDING_ARGS_AVAIL",
    "PENDING_NODE_ASSIGNMENT",
    "SUBMITTED_TO_WORKER",
    "PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY",
    "RUNNING",
    "RUNNING_IN_RAY_GET",
    "FINISHED",
    "FAILED",
]
TypeTaskType = Literal["NORMAL_TASK", "ACTOR_CREATION_TASK", "ACTOR_TASK"]
TypeWorkerExitType = Literal[
    "SYSTEM_ERROR",
    "INTENDED_SYSTEM_EXIT",
    "USER_ERROR",
    "INTENDED_USER_EXIT",
    "NODE_OUT_OF_MEMORY",
]
TypeWorkerType = Literal["WORKER", "DRIVER"]


def _detail() -> Any:
    """A column that only ``detail=True`` fills in."""
    return field(default=None, metadata={"detail": True})


class StateSchema:
    """A row: attributes, and the same as ``row["column"]``."""

    @classmethod
    def columns(cls) -> set[str]:
        """The names of all columns."""
        return {column.name for column in fields(cls)}  # type: ignore[arg-type]

    @classmethod
    def detail_columns(cls) -> set[str]:
        """Those that only ``detail=True`` fills in."""
        return {
            column.name
            for column in fields(cls)  # type: ignore[arg-type]
            if column.metadata.get("detail")
        }

    @classmethod
    def filterable_columns(cls) -> set[str]:
        """Those that filters may name: all."""
        return cls.columns()

    @classmethod
    def list_columns(cls, detail: bool = True) -> list[str]:
        """The names of the columns in their order; without ``detail`` those always filled in."""
        hidden = set() if detail else cls.detail_columns()
        names = [column.name for column in fields(cls)]  # type: ignore[arg-type]
        return [name for name in names if name not in hidden]

    @classmethod
    def base_columns(cls) -> set[str]:
        """Those that are always there."""
        return cls.columns() - cls.detail_columns()

    def asdict(self) -> dict[str, Any]:
        """The row as a dictionary."""
        return asdict(self)  # type: ignore[call-overload]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a column, or ``default`` where there is no such column."""
        return getattr(self, key, default)

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self, key, value)


@dataclass(init=True)
class ActorState(StateSchema):
    """One actor; ``death_cause`` says why it is dead, or why it restarts.

    It has one key, which names the kind of cause (``actor_died_error_context``,
    ``creation_task_failure_context`` or ``actor_unschedulable_context``). What is there has Ray's
    fields, and those that the engine knows: ``kind``, ``exit_code``, ``signal``, ``stderr_tail``.
    """

    actor_id: str
    class_name: str
    state: str
    job_id: str
    name: str | None
    node_id: str | None
    pid: int | None
    ray_namespace: str | None
    serialized_runtime_env: str | None = _detail()
    required_resources: dict[str, float] | None = _detail()
    death_cause: dict[str, Any] | None = _detail()
    is_detached: bool | None = _detail()
    placement_group_id: str | None = _detail()
    repr_name: str | None = _detail()
    num_restarts: int | None = _detail()
    num_restarts_due_to_lineage_reconstruction: int | None = _detail()
    num_restarts_due_to_node_preemption: int | None = _detail()
    call_site: str | None = _detail()
    label_selector: dict[str, str] | None = _detail()
    fallback_strategy: list[dict[str, Any]] | None = _detail()


@dataclass(init=True)
class TaskState(StateSchema):
    """One task, as its owner sees it; of those that are through the last 10,000 of each owner."""

    task_id: str
    attempt_number: int
    name: str
    state: str
    job_id: str
    actor_id: str | None
    type: str
    func_or_class_name: str
    parent_task_id: str
    node_id: str | None
    worker_id: str | None
    worker_pid: int | None
    error_type: str | None
    language: str | None = _detail()
    required_resources: dict[str, float] | None = _detail()
    runtime_env_info: dict[str, Any] | None = _detail()
    placement_group_id: str | None = _detail()
    events: list[dict[str, Any]] | None = _detail()
    profiling_data: dict[str, Any] | None = _detail()
    creation_time_ms: int | None = _detail()
    start_time_ms: int | None = _detail()
    end_time_ms: int | None = _detail()
    task_log_info: dict[str, Any] | None = _detail()
    error_message: str | None = _detail()
    is_debugger_paused: bool | None = _detail()
    call_site: str | None = _detail()
    label_selector: dict[str, str] | None = _detail()
    fallback_strategy: list[dict[str, Any]] | None = _detail()


@dataclass(init=True)
class ObjectState(StateSchema):
    """One reference of one process to an object; ``object_size`` is -1 while it is not there."""

    object_id: str
    object_size: int
    task_status: str
    attempt_number: int
    reference_type: str
    call_site: str
    type: str
    pid: int
    ip: str


@dataclass(init=True)
class NodeState(StateSchema):
    """One machine."""

    node_id: str
    node_ip: str
    is_head_node: bool
    state: str
    state_message: str | None
    node_name: str
    resources_total: dict[str, float]
    labels: dict[str, str]
    start_time_ms: int | None = _detail()
    end_time_ms: int | None = _detail()


@dataclass(init=True)
class WorkerState(StateSchema):
    """One process: a driver or a worker."""

    worker_id: str
    is_alive: bool
    worker_type: str
    exit_type: str | None
    node_id: str
    ip: str
    pid: int
    exit_detail: str | None = _detail()
    worker_launch_time_ms: int | None = _detail()
    worker_launched_time_ms: int | None = _detail()
    start_time_ms: int | None = _detail()
    end_time_ms: int | None = _detail()
    debugger_port: int | None = _detail()
    num_paused_threads: int | None = _detail()


@dataclass(init=True)
class PlacementGroupState(StateSchema):
    """One placement group."""

    placement_group_id: str
    name: str
    creator_job_id: str
    state: str
    bundles: list[dict[str, Any]] | None = _detail()
    is_detached: bool | None = _detail()
    stats: dict[str, Any] | None = _detail()
    topology_strategy: dict[str, str] | None = _detail()
    topology_assignments: dict[str, Any] | None = _detail()


@dataclass(init=True)
class JobState(StateSchema):
    """One driver's program; times are milliseconds since the epoch."""

    job_id: str | None
    type: str
    status: str
    entrypoint: str
    driver_info: dict[str, Any] | None = None
    submission_id: str | None = None
    message: str | None = None
    error_type: str | None = None
    start_time: int | None = _detail()
    end_time: int | None = _detail()
    metadata: dict[str, str] | None = _detail()
    runtime_env: dict[str, Any] | None = _detail()
    driver_agent_http_address: str | None = _detail()
    driver_node_id: str | None = _detail()
    driver_exit_code: int | None = _detail()


@dataclass(init=True)
class RuntimeEnvState(StateSchema):
    """A runtime environment on a node, and how many jobs and actors there have it."""

    runtime_env: dict[str, Any]
    success: bool
    creation_time_ms: float | None
    node_id: str
    ref_cnt: int | None = _detail()
    error: str | None = _detail()
