"""A distributed execution engine with Ray's programming model: tasks, actors and shared objects.

``import whipray as ray`` and a program that was written for Ray runs.
"""

# The names below are loaded at their first use: importing the package costs a few milliseconds.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from whipray import _core, _hooks
from whipray._core import ObjectRef, ObjectRefGenerator

if TYPE_CHECKING:
    from whipray import actor as actor
    from whipray import cloudpickle as cloudpickle
    from whipray import dag as dag
    from whipray import data as data
    from whipray import exceptions as exceptions
    from whipray import experimental as experimental
    from whipray import job_config as job_config
    from whipray import remote_function as remote_function
    from whipray import runtime_context as runtime_context
    from whipray import runtime_env as runtime_env
    from whipray import types as types
    from whipray import util as util
    from whipray._cluster import (
        available_resources,
        cluster_resources,
        get_gpu_ids,
        nodes,
    )
    from whipray._ids import (
        ActorClassID,
        ActorID,
        FunctionID,
        JobID,
        NodeID,
        PlacementGroupID,
        TaskID,
        UniqueID,
        WorkerID,
    )
    from whipray._ids import ClusterID as ClusterID
    from whipray._init import init, is_initialized, shutdown
    from whipray._language import Language
    from whipray._logging_config import LoggingConfig
    from whipray._objects import cancel, get, kill, put, wait
    from whipray._remote import remote
    from whipray._streams import DynamicObjectRefGenerator
    from whipray.actor import get_actor, method
    from whipray.runtime_context import get_runtime_context

__version__ = "2.60.0"
"""The version of Ray whose API this is."""

__commit__ = "b7f4259e944bf6959f721b106adc366ddfa0c356"
"""The commit of that version."""

__whipray_version__ = "0.1.0"
"""The version of this engine."""

SCRIPT_MODE = 0
WORKER_MODE = 1

ObjectID = ObjectRef

_core.install(_hooks)

_HOMES = {
    "_cluster": ("available_resources", "cluster_resources", "get_gpu_ids", "nodes"),
    "_explain": ("explain",),
    "_ids": (
        "ActorClassID",
        "ActorID",
        "ClusterID",
        "FunctionID",
        "JobID",
        "NodeID",
        "PlacementGroupID",
        "TaskID",
        "UniqueID",
        "WorkerID",
    ),
    "_init": ("init", "is_initialized", "shutdown"),
    "_language": ("Language",),
    "_logging_config": ("LoggingConfig",),
    "_objects": ("cancel", "get", "kill", "put", "wait"),
    "_remote": ("remote",),
    "_streams": ("DynamicObjectRefGenerator",),
    "_timeline": ("timeline",),
    "actor": ("get_actor", "method"),
    "runtime_context": ("get_runtime_context",),
}
_MODULES = (
    "_private",
    "actor",
    "cloudpickle",
    "dag",
    "data",
    "exceptions",
    "experimental",
    "internal",
    "job_config",
    "remote_function",
    "runtime_context",
    "runtime_env",
    "types",
    "util",
)
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [  # noqa: F822
    "ActorClassID",
    "ActorID",
    "FunctionID",
    "DynamicObjectRefGenerator",
    "JobID",
    "Language",
    "LoggingConfig",
    "NodeID",
    "ObjectID",
    "ObjectRef",
    "ObjectRefGenerator",
    "PlacementGroupID",
    "SCRIPT_MODE",
    "TaskID",
    "UniqueID",
    "WORKER_MODE",
    "WorkerID",
    "__version__",
    "actor",
    "available_resources",
    "cancel",
    "cluster_resources",
    "explain",
    "get",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "init",
    "is_initialized",
    "kill",
    "method",
    "nodes",
    "put",
    "remote",
    "shutdown",
    "timeline",
    "util",
    "wait",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF, *_MODULES})
