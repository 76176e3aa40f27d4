"""What :class:`whipray.util.state.StateApiClient` is asked for, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Union

DEFAULT_LIMIT = 100
DEFAULT_RPC_TIMEOUT = 30
RAY_MAX_LIMIT_FROM_API_SERVER = 10_000

SupportedFilterType = Union[str, bool, int, float]


@unique
class StateResource(Enum):
    """What there are lists of."""

    ACTORS = "actors"
    JOBS = "jobs"
    PLACEMENT_GROUPS = "placement_groups"
    NODES = "nodes"
    WORKERS = "workers"
    TASKS = "tasks"
    OBJECTS = "objects"
    RUNTIME_ENVS = "runtime_envs"


@unique
class SummaryResource(Enum):
    """What there are summaries of."""

    ACTORS = "actors"
    TASKS = "tasks"
    OBJECTS = "objects"


@dataclass
class ListApiOptions:
    """Which rows of a list are wanted; ``timeout`` has no effect."""

    limit: int = DEFAULT_LIMIT
    timeout: int = DEFAULT_RPC_TIMEOUT
    detail: bool = False
    filters: list[tuple[str, str, SupportedFilterType]] | None = field(default_factory=list)


@dataclass
class GetApiOptions:
    """``timeout`` has no effect."""

    timeout: int = DEFAULT_RPC_TIMEOUT


@dataclass
class SummaryApiOptions:
    """``timeout`` has no effect."""

    timeout: int = DEFAULT_RPC_TIMEOUT
