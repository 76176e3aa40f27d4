"""What the running task, actor or driver can know of itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from whipray import _core, _session
from whipray._ids import ActorID, JobID, NodeID, PlacementGroupID, TaskID

if TYPE_CHECKING:
    from whipray.actor import ActorHandle
    from whipray.runtime_env import RuntimeEnv

__all__ = ["RuntimeContext", "get_runtime_context"]

_ACCELERATORS = (
    "GPU",
    "TPU",
    "NPU",
    "HPU",
    "neuron_cores",
    "RBLN",
    "FURIOSA",
    "MBLT",
    "TTNPU",
)
"""Resources that Ray knows as accelerators; those of this engine are GPUs."""


class RuntimeContext:
    """Answers for the moment of each call: the same object serves every task."""

    def _require_worker(self) -> None:
        assert _session.current.role == _session.WORKER, (
            "This method is only available when the process is a worker. "
            f"Current mode: {_session.current.role}"
        )

    def get(self) -> dict[str, Any]:
        """The ids as objects, under ``job_id``, ``node_id``, ``namespace`` and, in workers,
        ``task_id`` and, in actors, ``actor_id``."""
        context: dict[str, Any] = {
            "job_id": self.job_id,
            "node_id": self.node_id,
            "namespace": self.namespace,
        }
        if _session.current.role == _session.WORKER:
            context["task_id"] = self.task_id
            if self.actor_id is not None:
                context["actor_id"] = self.actor_id
        return context

    @property
    def job_id(self) -> JobID:
        """The id of the job, as an object; see :meth:`get_job_id`."""
        return JobID(_core.context()["job_id"])

    def get_job_id(self) -> str:
        """The job in hexadecimal; the first one of a cluster is ``01000000``."""
        return _core.context()["job_id"].hex()

    @property
    def node_id(self) -> NodeID:
        """The id of the node, as an object; see :meth:`get_node_id`."""
        return NodeID(_core.context()["node_id"])

    def get_node_id(self) -> str:
        """The node in hexadecimal, 56 digits."""
        return _core.context()["node_id"].hex()

    def get_worker_id(self) -> str:
        """The process in hexadecimal, 56 digits."""
        return _core.context()["worker_id"].hex()

    @property
    def task_id(self) -> TaskID | None:
        """The id of the task, as an object; see :meth:`get_task_id`.

        Raises AssertionError in a driver.
        """
        self._require_worker()
        task = _core.context()["task_id"]
        return TaskID(task) if task else None

    def get_task_id(self) -> str | None:
        """The task in hexadecimal, 48 digits; None in a driver."""
        task = _core.context()["task_id"]
        return task.hex() if task else None

    def get_task_name(self) -> str | None:
        """The name that the task was given, or that of its function; None in a driver."""
        return _core.context()["task_name"] or None

    def get_task_function_name(self) -> str | None:
        """The function of the task with its module; None in a driver."""
        context = _core.context()
        if context["method"]:
            from whipray import _worker

            return f"{_worker.actor_class_name()}.{context['method']}"
        return context["function_name"] or None

    @property
    def actor_id(self) -> ActorID | None:
        """The id of the actor, as an object; None outside of actors.

        Raises AssertionError in a driver.
        """
        self._require_worker()
        actor = _core.context()["actor_id"]
        return ActorID(actor) if actor else None

    def get_actor_id(self) -> str | None:
        """The actor in hexadecimal, 32 digits; None outside of actors."""
        actor = _core.context()["actor_id"]
        return actor.hex() if actor else None

    def get_actor_name(self) -> str | None:
        """The name of the actor, empty for one without a name; None outside of actors."""
        spec = _session.current.info.get("actor")
        return spec["name"] if spec else None

    @property
    def namespace(self) -> str:
        """Where names of actors are looked up."""
        return _session.current.namespace

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """Whether the actor was restarted after a crash."""
        self._require_worker()
        spec = _session.current.info.get("actor")
        assert spec is not None, "This method can only be called inside of an actor."
        return bool(spec["incarnation"] > 0)

    def get_assigned_resources(self) -> dict[str, float]:
        """Names and amounts that the task or actor holds.

        Raises AssertionError in a driver.
        """
        self._require_worker()
        return dict(_core.context()["resources"])

    def get_runtime_env_string(self) -> str:
        """The runtime environment as JSON."""
        return json.dumps(_session.current.runtime_env)

    @property
    def runtime_env(self) -> RuntimeEnv:
        """The runtime environment of the job."""
        from whipray.runtime_env import RuntimeEnv

        return RuntimeEnv(_validate=False, **_session.current.runtime_env)

    @property
    def current_actor(self) -> ActorHandle:
        """A handle of the actor in which this is asked, which does not keep it alive.

        Raises RuntimeError outside of actors.
        """
        spec = _session.current.info.get("actor")
        if spec is None:
            raise RuntimeError("This method is only available in an actor.")
        from whipray.actor import ActorHandle

        return ActorHandle._of(_core.actor_at(spec["actor_id"], -1), spec["handle"])

    @property
    def gcs_address(self) -> str:
        """The address of the cluster."""
        return str(_session.current.info["cluster_address"])

    def get_placement_group_id(self) -> str | None:
        """The placement group of the task or actor in hexadecimal; None outside of groups."""
        group = _core.context()["group"]
        return group.hex() if group else None

    @property
    def current_placement_group_id(self) -> PlacementGroupID:
        """The placement group, as an object, which is nil outside of groups."""
        group = _core.context()["group"]
        return PlacementGroupID(group) if group else PlacementGroupID.nil()

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether what is submitted here goes into the placement group of the task or actor."""
        return bool(_core.context()["captures"])

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """Ids of the accelerators that the task or actor was given, by their kind."""
        from whipray import _gpus

        ids: dict[str, list[str]] = {kind: [] for kind in _ACCELERATORS}
        ids["GPU"] = [str(name) for name in _gpus.names_of(list(_core.context()["gpu_ids"]))]
        return ids

    def get_resource_ids(self) -> dict[str, list[str]]:
        """The same as :meth:`get_accelerator_ids`."""
        return self.get_accelerator_ids()

    def get_node_labels(self) -> dict[str, str]:
        """The labels of the node."""
        node_id = self.get_node_id()
        for node in _core.status()["nodes"]:
            if node["node_id"] == node_id:
                return {"ray.io/node-id": node_id, **node["labels"]}
        return {}

    def get_session_name(self) -> str:
        """The name of the cluster's session, which its folder has as well."""
        return str(_session.current.info["session_name"])

    def get_temp_dir(self) -> str:
        """The folder below which the sessions are kept."""
        import os

        return os.path.dirname(_session.current.info["session_directory"])

    def is_canceled(self) -> bool:
        """Whether the current task was cancelled.

        Raises RuntimeError outside of tasks, and in actors with coroutines: those get
        CancelledError.
        """
        if not _core.context()["task_id"]:
            raise RuntimeError(
                "This method is only available when the process is a worker. "
                f"Current mode: {_session.current.role}"
            )
        if (_session.current.info.get("actor") or {}).get("is_async"):
            raise RuntimeError("This method is not supported in an async actor.")
        return _core.is_cancelled()


_context = RuntimeContext()


def get_runtime_context() -> RuntimeContext:
    """The context of whoever asks, connecting the process first where it is not connected."""
    _session.ensure()
    return _context
