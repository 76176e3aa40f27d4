"""Clusters of several nodes."""

import os
from importlib import import_module
from types import ModuleType
from typing import Any, Callable, Dict, Iterator

import pytest
from harness.engine import Engine

QUICK_TO_DIE = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 200,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 3,
}
"""Settings with which a node that is silent counts as dead soon."""


@pytest.fixture(scope="module")
def new_cluster(engine: Engine, ray: ModuleType) -> Callable[..., Any]:
    """`new_cluster(**head)`: a `cluster_utils.Cluster` with such a head, which this process is
    connected to."""

    def new_cluster(**head: Any) -> Any:
        ray.shutdown()
        # Ray's workers see what the tests' modules import only there, as it is for `init()`.
        cluster = import_module(f"{engine.name}.cluster_utils").Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 2, "include_dashboard": False, **head},
        )
        ray.init(address=cluster.address, log_to_driver=False)
        return cluster

    return new_cluster


class Nodes:
    """A head and the nodes `one` and `two`; as attributes their ids."""

    def __init__(self, cluster: Any) -> None:
        self.cluster = cluster
        self.handles: Dict[str, Any] = {"head": cluster.head_node}
        for name, zone in (("one", "b"), ("two", "c")):
            self.handles[name] = cluster.add_node(
                num_cpus=2, resources={name: 2}, labels={"zone": zone}
            )
        self.head, self.one, self.two = (node.node_id for node in self.handles.values())
        self.all = {self.head, self.one, self.two}


@pytest.fixture(scope="module")
def nodes(
    ray: ModuleType, new_cluster: Callable[..., Any], nothing_left_behind: None
) -> Iterator[Nodes]:
    """Three nodes that the module shares, with 2 CPUs each: the head, where this process is, with
    the resource `head` and the label `zone=a`; `one` with `zone=b`; `two` with `zone=c`."""
    cluster = new_cluster(resources={"head": 2}, labels={"zone": "a"})
    yield Nodes(cluster)
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def grow(ray: ModuleType, new_cluster: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """`grow(*nodes, **head)`: a cluster of the test's own, which may lose nodes: a head with such
    arguments and a node with each of these."""
    clusters = []

    def grow(*nodes: Dict[str, Any], **head: Any) -> Any:
        cluster = new_cluster(**{"_system_config": QUICK_TO_DIE, **head})
        clusters.append(cluster)
        for arguments in nodes:
            cluster.add_node(**arguments)
        cluster.wait_for_nodes()
        return cluster

    yield grow
    ray.shutdown()
    for cluster in clusters:
        cluster.shutdown()


@pytest.fixture(scope="module")
def where(ray: ModuleType) -> Any:
    """A remote function that says on which node it runs; what it is given is ignored."""

    @ray.remote
    def where(*_: Any) -> str:
        return ray.get_runtime_context().get_node_id()

    return where


@pytest.fixture(scope="module")
def Dweller(ray: ModuleType) -> Any:
    """An actor that knows where it lives, and keeps a number."""

    @ray.remote
    class Dweller:
        def __init__(self, number: int = 0) -> None:
            self.number = number

        def node(self) -> str:
            return ray.get_runtime_context().get_node_id()

        def process(self) -> int:
            return os.getpid()

        def add(self, amount: int) -> int:
            self.number += amount
            return self.number

    return Dweller


@pytest.fixture(scope="module")
def strategies(ray: ModuleType) -> ModuleType:
    """The engine's `util.scheduling_strategies`."""
    return import_module(f"{ray.__name__}.util.scheduling_strategies")


@pytest.fixture(scope="module")
def groups(ray: ModuleType) -> ModuleType:
    """The engine's `util.placement_group`."""
    return import_module(f"{ray.__name__}.util.placement_group")
