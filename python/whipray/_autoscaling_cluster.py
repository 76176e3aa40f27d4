"""A cluster on this machine whose nodes come and go by what is to be done."""

from __future__ import annotations

import copy
import json
import os
import signal
import sys
import tempfile
import weakref
from typing import Any

import whipray
from whipray import _address, _session
from whipray._daemon import END_SECONDS, Daemon

_HEAD_TYPE = "ray.head.default"

_DEFAULTS: dict[str, Any] = {
    "cluster_name": "fake_multinode",
    "max_workers": 8,
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": 0.1,
    "provider": {"type": "fake_multinode"},
    "head_node_type": _HEAD_TYPE,
}


_with_daemon: weakref.WeakSet[AutoscalingCluster] = weakref.WeakSet()


class AutoscalingCluster:
    """A head, and an autoscaler that starts nodes as processes of this machine and ends them.

    All of it ends with this process at the latest.
    """

    def __init__(
        self,
        head_resources: dict[str, Any],
        worker_node_types: dict[str, Any],
        autoscaler_v2: bool = False,
        **config_kwargs: Any,
    ) -> None:
        """Describe the cluster; :meth:`start` starts it.

        ``head_resources`` is what the head's node has, ``worker_node_types`` what can be started:
        of each name ``resources``, and where wanted ``labels``, ``min_workers``, ``max_workers``,
        ``idle_timeout_s`` and ``priority``. Further keywords are top-level keys of the cluster
        launcher's configuration, such as ``max_workers`` (8), ``idle_timeout_minutes`` (0.1, may be
        a fraction) and ``upscaling_speed`` (1.0). ``autoscaler_v2`` makes no difference: there is
        one autoscaler.
        """
        self._head_resources = dict(head_resources)
        types = copy.deepcopy(worker_node_types)
        types[_HEAD_TYPE] = {
            "resources": dict(head_resources),
            "node_config": {},
            "max_workers": 0,
        }
        self._config = {**copy.deepcopy(_DEFAULTS), "available_node_types": types, **config_kwargs}
        self._daemon: Daemon | None = None
        self._said: dict[str, Any] = {}

    @property
    def address(self) -> str | None:
        """``host:port`` of the head, for ``init``; None while the cluster does not run."""
        return self._said.get("cluster_address")

    def start(
        self,
        _system_config: dict[str, Any] | None = None,
        override_env: dict[str, str] | None = None,
    ) -> None:
        """Start the head; ``ray.init("auto")`` connects to it from here on.

        ``override_env`` has variables of the environment for all processes of the cluster.

        Raises RuntimeError where it runs already, or does not start, with the reason.
        """
        if self._daemon is not None:
            raise RuntimeError("the cluster runs already: end it with shutdown() first")
        amounts = dict(self._head_resources)
        options: dict[str, Any] = {
            "num_cpus": amounts.pop("CPU", None),
            "num_gpus": amounts.pop("GPU", 0),
            "memory": amounts.pop("memory", None),
            "object_store_memory": amounts.pop("object_store_memory", None),
            "resources": amounts,
            "system_config": _system_config or {},
            "temp_dir": _address.temporary_folder(None),
            "python": sys.executable or "python3",
            "port": 0,
            # Commands and programs that name no cluster find this one.
            "is_detached": True,
        }
        variables = {name: str(value) for name, value in (override_env or {}).items()}
        with tempfile.NamedTemporaryFile("w", prefix="whipray-scaling-", suffix=".yaml") as file:
            json.dump(self._config, file)
            file.flush()
            options["autoscaling_config"] = file.name
            daemon = Daemon(options, variables)
            try:
                self._said = daemon.answer()
            except BaseException:
                daemon.kill()
                raise
        self._daemon = daemon
        _with_daemon.add(self)

    def shutdown(self) -> None:
        """End the cluster with all its nodes, and the connection of this process to it; nothing
        where it does not run."""
        daemon, self._daemon = self._daemon, None
        if daemon is None:
            return
        if _session.current.info.get("cluster_address") == self.address:
            whipray.shutdown()
        self._said = {}
        daemon.signal(signal.SIGTERM)
        daemon.wait(END_SECONDS)
        daemon.kill()

    def _abandon(self) -> None:
        if self._daemon is not None:
            self._daemon.abandon()


def _after_fork_in_child() -> None:
    # A pipe that only a forked child still holds would keep the cluster alive.
    for cluster in list(_with_daemon):
        cluster._abandon()


os.register_at_fork(after_in_child=_after_fork_in_child)
