"""Clusters of several nodes on one machine, for tests of programs and of what they do to faults."""

from __future__ import annotations

import atexit
import time
from typing import Any

import whipray
from whipray import _cluster_node, _core, _session
from whipray._autoscaling_cluster import AutoscalingCluster

__all__ = ["AutoscalingCluster", "Cluster", "cluster_not_supported"]

cluster_not_supported = False

_PAUSE_SECONDS = 0.02


class Cluster:
    """Nodes that are real daemons, each with its own workers, object store and port.

    All of them end with this process at the latest.
    """

    def __init__(
        self,
        initialize_head: bool = False,
        connect: bool = False,
        head_node_args: dict[str, Any] | None = None,
        shutdown_at_exit: bool = True,
    ) -> None:
        """Start the head with these arguments of :meth:`add_node`, and connect this process to it,
        where asked.

        Raises RuntimeError where ``connect`` is given without ``initialize_head``.
        """
        self.head_node: _cluster_node.Node | None = None
        self.worker_nodes: set[_cluster_node.Node] = set()
        self.redis_address: str | None = None
        self.connected = False
        if connect and not initialize_head:
            raise RuntimeError("Cannot connect to uninitialized cluster.")
        if initialize_head:
            self.add_node(**(head_node_args or {}))
            if connect:
                self.connect()
        if shutdown_at_exit:
            atexit.register(self.shutdown)

    @property
    def gcs_address(self) -> str | None:
        """``host:port`` of the head; None without one."""
        return None if self.head_node is None else self.head_node.gcs_address

    @property
    def address(self) -> str | None:
        """What programs give to ``init``; None without a head."""
        return self.gcs_address

    def connect(self, namespace: str | None = None) -> None:
        """Connect this process to the head."""
        assert self.address is not None, "the cluster has no head"
        assert not self.connected, "this process is connected already"
        assert self.head_node is not None
        whipray.init(
            address=self.address,
            namespace=namespace,
            ignore_reinit_error=True,
            _temp_dir=self.head_node.get_temp_dir_path(),
        )
        self.connected = True

    def add_node(self, wait: bool = True, **node_args: Any) -> _cluster_node.Node:
        """Start the head, where there is none, or a node that joins it.

        Arguments are ``num_cpus`` (1), ``num_gpus`` (0), ``memory``, ``resources``, ``labels``,
        ``object_store_memory`` (150 MiB), ``env_vars``, ``node_ip_address``, ``temp_dir``,
        ``object_spilling_directory``, for the head ``_system_config`` and ``gcs_server_port``; with
        ``wait=False`` the node may not be a member of the cluster yet when this returns.

        Raises RuntimeError where it does not start, TimeoutError where it does not join, TypeError,
        AssertionError or ValueError for bad arguments, before anything is started.
        """
        node = _cluster_node.Node(node_args, self.head_node)
        node._finish_start()
        if self.head_node is None:
            self.head_node = node
        else:
            self.worker_nodes.add(node)
        if wait:
            self._wait_for_node(node)
        return node

    def remove_node(self, node: _cluster_node.Node, allow_graceful: bool = True) -> None:
        """End a node: in order, or as a loss of power does where that is not allowed.

        Raises ValueError for the node that this process is connected to, KeyError for one that the
        cluster does not have.
        """
        connected_to = _session.current.info.get("endpoint")
        if connected_to is not None and connected_to == node.raylet_socket_name:
            whipray.shutdown()
            raise ValueError(
                "Removing a node that is connected to this Ray client is not allowed because it "
                "will break the driver. Remove another one, or disconnect before."
            )
        if node is not self.head_node and node not in self.worker_nodes:
            raise KeyError(node)
        node.kill_all_processes(check_alive=False, allow_graceful=allow_graceful, wait=True)
        if node is self.head_node:
            self.head_node = None
        else:
            self.worker_nodes.remove(node)

    def _wait_for_node(self, node: _cluster_node.Node, timeout: float = 30) -> None:
        deadline = time.monotonic() + timeout
        while not node.node_id:
            if time.monotonic() > deadline:
                raise TimeoutError("Timed out while waiting for nodes to join.")
            time.sleep(_PAUSE_SECONDS)

    def wait_for_nodes(self, timeout: float = 30) -> None:
        """Wait until the cluster has exactly the nodes that this object has: until those that were
        added have joined, and those that were removed count as dead.

        Raises TimeoutError after so many seconds.
        """
        deadline = time.monotonic() + timeout
        while self._count_of_members() != len(self.list_all_nodes()):
            if time.monotonic() > deadline:
                raise TimeoutError("Timed out while waiting for nodes to join.")
            time.sleep(_PAUSE_SECONDS)

    def _count_of_members(self) -> int:
        if self.head_node is None:
            return 0
        session = _session.current
        if session.role and session.info.get("cluster_address") == self.address:
            return sum(node["alive"] for node in _core.status()["nodes"])
        return len(self.head_node._members())

    def list_all_nodes(self) -> list[_cluster_node.Node]:
        """The head first."""
        nodes = list(self.worker_nodes)
        return nodes if self.head_node is None else [self.head_node, *nodes]

    def remaining_processes_alive(self) -> bool:
        """Whether everything runs that was not ended by this object or its nodes."""
        return all(node.remaining_processes_alive() for node in self.list_all_nodes())

    def shutdown(self) -> None:
        """End all nodes, the head last, and the connection of this process to one of them."""
        sockets = {node.raylet_socket_name for node in self.list_all_nodes()}
        if _session.current.info.get("endpoint") in sockets:
            whipray.shutdown()
        self.connected = False
        for node in [*self.worker_nodes, *filter(None, [self.head_node])]:
            node.kill_all_processes(check_alive=False, allow_graceful=True, wait=True)
        self.worker_nodes.clear()
        self.head_node = None
