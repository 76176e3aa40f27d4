"""One node of a cluster on this machine: the daemon of it, and where it can be reached."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

from whipray import _address
from whipray._daemon import END_SECONDS, Daemon, binary
from whipray._init import check_amounts

OPTIONS = {
    "num_cpus": "num_cpus",
    "num_gpus": "num_gpus",
    "resources": "resources",
    "labels": "labels",
    "memory": "memory",
    "object_store_memory": "object_store_memory",
    "node_ip_address": "node_ip",
    "object_spilling_directory": "object_spilling_directory",
    "metrics_export_port": "metrics_export_port",
    "_system_config": "system_config",
}
"""What ``Cluster.add_node`` calls the options of a daemon, and what the daemon does."""

WITHOUT_EFFECT = frozenset(
    {
        "autoscaling_config",
        "cluster_id",
        "dashboard_agent_listen_port",
        "dashboard_host",
        "dashboard_port",
        "enable_object_reconstruction",
        "external_addresses",
        "gcs_address",
        "huge_pages",
        "include_dashboard",
        "include_log_monitor",
        "log_to_stderr",
        "max_worker_port",
        "metrics_agent_port",
        "min_worker_port",
        "no_monitor",
        "node_id",
        "node_name",
        "num_redis_shards",
        "object_manager_port",
        "plasma_directory",
        "plasma_store_socket_name",
        "proxy_server_url",
        "ray_client_server_port",
        "ray_debugger_external",
        "raylet_socket_name",
        "redirect_output",
        "redis_address",
        "redis_max_clients",
        "redis_password",
        "redis_port",
        "redis_shard_ports",
        "redis_username",
        "resource_isolation_config",
        "runtime_env_agent_port",
        "runtime_env_dir_name",
        "session_name",
        "setup_worker_path",
        "webui",
        "worker_path",
        "worker_port_list",
    }
)
"""Options of Ray's nodes for parts that are not there, or that need no word."""

_STORE_BYTES = 150 * 1024 * 1024
_STATUS_SECONDS = 30.0

_with_daemon: weakref.WeakSet[Node] = weakref.WeakSet()


class DaemonProcess:
    """The process of a daemon, with the methods of :class:`subprocess.Popen` that tests use."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.pid = daemon.pid

    def poll(self) -> int | None:
        """Its exit code, or the negative number of the signal that ended it; None while it runs."""
        status = self._daemon.wait(0)
        return None if status is None else os.waitstatus_to_exitcode(status)

    @property
    def returncode(self) -> int | None:
        """The same as :meth:`poll`."""
        return self.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; see :meth:`poll`.

        Raises subprocess.TimeoutExpired after so many seconds.
        """
        status = self._daemon.wait(math.inf if timeout is None else timeout)
        if status is None:
            raise subprocess.TimeoutExpired("whipray", timeout or 0)
        return os.waitstatus_to_exitcode(status)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self._daemon.is_alive():
            self._daemon.signal(number)

    def terminate(self) -> None:
        """Ask it to end in order."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it, as a loss of power does."""
        self.send_signal(signal.SIGKILL)


class ProcessInfo(NamedTuple):
    """One process of a node."""

    process: DaemonProcess


class Node:
    """A daemon that ends with this process at the latest, however this process ends."""

    def __init__(self, arguments: Mapping[str, Any], head: Node | None) -> None:
        """Start the head of a cluster, or a node that joins that of ``head``; :meth:`_finish_start`
        waits for it.

        Raises TypeError for unknown arguments, AssertionError or ValueError for bad ones.
        """
        unknown = set(arguments) - set(OPTIONS) - WITHOUT_EFFECT - _OTHER
        if unknown:
            raise TypeError(f"a node has no option {', '.join(map(repr, sorted(unknown)))}")
        if head is not None and arguments.get("_system_config"):
            raise ValueError("_system_config is for the whole cluster: give it to the head")
        self._head = head
        self.node_labels: dict[str, str] = dict(arguments.get("labels") or {})
        self._temp_dir = _address.temporary_folder(arguments.get("temp_dir"))
        options = {
            "num_cpus": 1,
            "num_gpus": 0,
            "object_store_memory": _STORE_BYTES,
            **{
                OPTIONS[name]: value
                for name, value in arguments.items()
                if name in OPTIONS and value is not None
            },
            "temp_dir": self._temp_dir,
            "python": sys.executable or "python3",
            "port": _port(arguments, head is None),
        }
        check_amounts(options)
        if head is not None:
            options["address"] = head.address
            options["token_file"] = os.path.join(head.get_session_dir_path(), "token")
        variables = {str(name): str(value) for name, value in _variables(arguments).items()}
        self._said: dict[str, Any] = {}
        self._killed = False
        self._identity = ""
        self._daemon = Daemon(options, variables)
        _with_daemon.add(self)

    def _finish_start(self) -> None:
        """Wait until the daemon serves. Raises RuntimeError with the reason where it does not."""
        if self._said:
            return
        try:
            self._said = self._daemon.answer()
        except BaseException:
            self._daemon.kill()
            raise

    # ---- where it is ----------------------------------------------------------------------------

    def is_head(self) -> bool:
        """Whether the state of the cluster is kept here."""
        return self._head is None

    @property
    def pid(self) -> int:
        """The process id of the daemon."""
        return self._daemon.pid

    @property
    def node_id(self) -> str:
        """The id of the node, in hexadecimal."""
        if not self._identity:
            self._identity = self._as_member().get("id", "")
        return self._identity

    @property
    def metrics_export_port(self) -> int:
        """Where the metrics of the node are read; 0 while there are none."""
        return int(self._as_member().get("metrics", ":0/").rpartition(":")[2].partition("/")[0])

    def _as_member(self) -> dict[str, str]:
        head = self._head or self
        return head._described_members().get(self.get_session_dir_path(), {})

    @property
    def unique_id(self) -> str:
        """A name that no other node has."""
        return f"{self.node_ip_address}:{self.plasma_store_socket_name}"

    @property
    def address(self) -> str:
        """``host:port`` of the head."""
        return str(self._said["cluster_address"])

    gcs_address = address

    @property
    def redis_address(self) -> None:
        """There is none."""
        return None

    @property
    def node_ip_address(self) -> str:
        """The address of the node."""
        return str(self._said["node_ip"])

    @property
    def raylet_socket_name(self) -> str:
        """Where processes of this machine reach the daemon."""
        return str(self._said["endpoint"])

    @property
    def plasma_store_socket_name(self) -> str:
        """The same: the daemon keeps the objects, too."""
        return self.raylet_socket_name

    @property
    def node_manager_port(self) -> int:
        """The TCP port where other nodes reach the daemon."""
        with open(os.path.join(self.get_session_dir_path(), "node.json"), encoding="utf-8") as file:
            return int(str(json.load(file)["tcp"]).rpartition(":")[2])

    @property
    def session_name(self) -> str:
        """The name of the session's folder."""
        return os.path.basename(self.get_session_dir_path())

    @property
    def address_info(self) -> dict[str, Any]:
        """Where everything is."""
        return {
            "node_ip_address": self.node_ip_address,
            "redis_address": None,
            "object_store_address": self.plasma_store_socket_name,
            "raylet_socket_name": self.raylet_socket_name,
            "webui_url": "",
            "session_dir": self.get_session_dir_path(),
            "gcs_address": self.gcs_address,
            "address": self.address,
        }

    def get_session_dir_path(self) -> str:
        """The folder of the node's session: each node has its own."""
        return str(self._said["session_directory"])

    def get_logs_dir_path(self) -> str:
        """The folder of the node's logs."""
        return os.path.join(self.get_session_dir_path(), "logs")

    def get_temp_dir_path(self) -> str:
        """The folder that has the folders of sessions."""
        return self._temp_dir

    def _members(self) -> dict[str, str]:
        """Of each living node of the cluster the session's folder and the id, as the head says.

        Raises RuntimeError where it does not answer.
        """
        described = self._described_members()
        return {folder: member["id"] for folder, member in described.items()}

    def _described_members(self) -> dict[str, dict[str, str]]:
        """What the head says of each living node of the cluster, by the folder of its session.

        Raises RuntimeError where it does not answer.
        """
        words = [binary(), "status", "--verbose", f"--address={self.raylet_socket_name}"]
        # The command looks for sessions in a folder of this name.
        with tempfile.TemporaryDirectory(prefix="whipray-cluster-") as folder:
            os.symlink(self._temp_dir, os.path.join(folder, "whipray"))
            done = subprocess.run(
                words,
                env={**os.environ, "RAY_TMPDIR": folder},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_STATUS_SECONDS,
            )
        if done.returncode != 0:
            raise RuntimeError(f"the head of the cluster does not answer: {done.stderr.strip()}")
        members: list[dict[str, str]] = []
        for line in done.stdout.partition("\nResources in use")[0].splitlines():
            word, _, value = line.strip().partition(" ")
            if word == "id":
                members.append({})
            if members:
                members[-1][word] = value.strip()
        return {member.get("session", ""): member for member in members}

    # ---- its end --------------------------------------------------------------------------------

    def kill_raylet(self, check_alive: bool = True) -> None:
        """Kill the daemon, as a machine that loses power does.

        Raises RuntimeError where it is gone already, unless ``check_alive`` is false.
        """
        self._end(check_alive, allow_graceful=False)

    def kill_all_processes(
        self, check_alive: bool = True, allow_graceful: bool = False, wait: bool = False
    ) -> None:
        """End the daemon, and with it all processes of the node; returns when it is gone.

        Raises RuntimeError where it is gone already, unless ``check_alive`` is false.
        """
        self._end(check_alive, allow_graceful)

    def _end(self, check_alive: bool, allow_graceful: bool) -> None:
        if check_alive and not self._daemon.is_alive():
            raise RuntimeError(
                f"Attempting to kill the daemon of node {self.unique_id}, but it is already dead."
            )
        self._killed = True
        if allow_graceful:
            self._daemon.signal(signal.SIGTERM)
            self._daemon.wait(END_SECONDS)
        self._daemon.kill()
        _with_daemon.discard(self)

    @property
    def all_processes(self) -> dict[str, list[ProcessInfo]]:
        """The daemon, under the names of what it stands for."""
        info = ProcessInfo(DaemonProcess(self._daemon))
        processes = {"raylet": [info]}
        if self.is_head():
            processes["gcs_server"] = [info]
        return processes

    def kill_gcs_server(self, check_alive: bool = True) -> None:
        """Kill the daemon of the head, which keeps the state of the cluster: the end of both.

        Raises RuntimeError where it is gone already, unless ``check_alive`` is false, and
        ValueError for a node that is not the head.
        """
        if not self.is_head():
            raise ValueError("the state of the cluster is kept by the head alone")
        self.kill_raylet(check_alive)

    def live_processes(self) -> list[tuple[str, int]]:
        """What of the node runs: kind and process id."""
        return [("raylet", self.pid)] if self._daemon.is_alive() else []

    def dead_processes(self) -> list[tuple[str, int]]:
        """What of the node has ended though nobody asked it to: kind and process id."""
        return [] if self._killed or self._daemon.is_alive() else [("raylet", self.pid)]

    def any_processes_alive(self) -> bool:
        """Whether the daemon still runs."""
        return bool(self.live_processes())

    def remaining_processes_alive(self) -> bool:
        """Whether everything runs that was not killed by methods of this object."""
        return not self.dead_processes()


_OTHER = {"env_vars", "gcs_server_port", "node_manager_port", "temp_dir", "tracing_startup_hook"}


def _port(arguments: Mapping[str, Any], is_head: bool) -> int:
    """The TCP port that is asked for; 0 lets the system choose."""
    name = "gcs_server_port" if is_head else "node_manager_port"
    return int(arguments.get(name) or 0)


def _variables(arguments: Mapping[str, Any]) -> dict[str, Any]:
    variables = dict(arguments.get("env_vars") or {})
    hook = arguments.get("tracing_startup_hook")
    if hook is not None:
        variables["WHIPRAY_TRACING_STARTUP_HOOK"] = hook
    return variables


def _after_fork_in_child() -> None:
    # A pipe that only a forked child still holds would keep the daemons alive.
    for node in list(_with_daemon):
        node._daemon.abandon()


os.register_at_fork(after_in_child=_after_fork_in_child)
