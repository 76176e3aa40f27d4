"""Helpers on top of tasks and actors."""

# No `from __future__ import annotations`: the name belongs to a module of this package.

from typing import TYPE_CHECKING, Any

# Not on demand: the function has the name of its module, and must be bound after it.
from whipray.util.placement_group import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

if TYPE_CHECKING:
    from whipray.util import accelerators as accelerators
    from whipray.util import annotations as annotations
    from whipray.util import collective as collective
    from whipray.util import dask as dask
    from whipray.util import debugpy as ray_debugpy
    from whipray.util import joblib as joblib
    from whipray.util import metrics as metrics
    from whipray.util import multiprocessing as multiprocessing
    from whipray.util import queue as queue
    from whipray.util import rpdb as pdb
    from whipray.util import scheduling_strategies as scheduling_strategies
    from whipray.util.actor_pool import ActorPool
    from whipray.util.check_serialize import inspect_serializability
    from whipray.util.debug import disable_log_once_globally, enable_periodic_logging, log_once
    from whipray.util.helpers import as_completed, map_unordered
    from whipray.util.named_actors import list_named_actors
    from whipray.util.node_address import get_node_instance_id, get_node_ip_address
    from whipray.util.serialization import deregister_serializer, register_serializer

_RENAMED_MODULES = {"pdb": "rpdb", "ray_debugpy": "debugpy"}
_HOMES = {
    "ActorPool": "actor_pool",
    "as_completed": "helpers",
    "deregister_serializer": "serialization",
    "disable_log_once_globally": "debug",
    "enable_periodic_logging": "debug",
    "get_node_instance_id": "node_address",
    "get_node_ip_address": "node_address",
    "inspect_serializability": "check_serialize",
    "list_named_actors": "named_actors",
    "log_once": "debug",
    "map_unordered": "helpers",
    "register_serializer": "serialization",
}
_MODULES = (
    "accelerators",
    "actor_pool",
    "annotations",
    "check_serialize",
    "collective",
    "dask",
    "debug",
    "debugpy",
    "helpers",
    "joblib",
    "metrics",
    "multiprocessing",
    "queue",
    "rpdb",
    "scheduling_strategies",
    "serialization",
    "state",
)

__all__ = [
    "ActorPool",
    "accelerators",
    "as_completed",
    "deregister_serializer",
    "disable_log_once_globally",
    "enable_periodic_logging",
    "get_current_placement_group",
    "get_node_instance_id",
    "get_node_ip_address",
    "get_placement_group",
    "inspect_serializability",
    "list_named_actors",
    "log_once",
    "map_unordered",
    "pdb",
    "placement_group",
    "placement_group_table",
    "ray_debugpy",
    "register_serializer",
    "remove_placement_group",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _RENAMED_MODULES:
        return import_module(f"{__name__}.{_RENAMED_MODULES[name]}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES, *_RENAMED_MODULES})
