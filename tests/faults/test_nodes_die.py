"""Daemons, workers and drivers of a cluster of several nodes are killed or frozen under load."""

import os
import signal
import time

import pytest
from harness import processes
from harness.waiting import until
from harness.workload import SOURCE

SOON_DEAD = {"health_check_period_ms": 1000, "health_check_failure_threshold": 4}
"""Silence of 4 s is death."""

NODE = {"num_cpus": 2, "resources": {"node": 2}}


@pytest.fixture
def cluster(engine):
    """A head and two nodes, each a daemon of its own; this process is connected to none."""
    from whipray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "_system_config": SOON_DEAD}
    )
    for _ in range(2):
        cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


@pytest.fixture
def start(cluster, drivers, workload):
    """`start(tasks, pause)`: the work and a driver that has begun it."""

    def start(tasks, pause):
        work = workload(tasks=tasks, pause=pause)
        driver = drivers.start(
            SOURCE, arguments=work.arguments, environment={"CLUSTER": cluster.address}
        )
        driver.until_printed("ready")
        return work, driver

    return start


def workers_of(node):
    """Processes below a daemon that run tasks or actors, or may soon."""
    return [
        process.pid
        for process in processes.descendants(node.pid)
        if "whipray" in process.command and process.parent != node.pid
    ]


def test_workers_are_killed(cluster, start):
    work, driver = start(tasks=1000, pause=0.01)
    killed = 0
    while killed < 8 and driver.process.poll() is None:
        for node in cluster.list_all_nodes():
            for pid in workers_of(node)[:1]:
                os.kill(pid, signal.SIGKILL)
                killed += 1
        time.sleep(0.2)  # Of the fault: one after the other, while work goes on.
    assert killed
    work.require_all(driver)


def test_a_daemon_is_killed(cluster, start):
    work, driver = start(tasks=1000, pause=0.01)
    node = next(iter(cluster.worker_nodes))
    below = processes.descendants(node.pid)
    node.kill_raylet()
    until(lambda: not processes.still_alive(below), f"its processes end: {below}")
    work.require_all(driver)


def test_all_nodes_are_replaced(cluster, start):
    work, driver = start(tasks=1500, pause=0.01)
    for node in list(cluster.worker_nodes):
        cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(**NODE)
    work.require_all(driver)


def test_a_node_leaves_in_order(cluster, start):
    work, driver = start(tasks=1000, pause=0.01)
    cluster.remove_node(next(iter(cluster.worker_nodes)))
    work.require_all(driver)


def test_a_daemon_is_frozen_for_a_moment(cluster, start):
    """Less than its death takes: nothing is lost, nothing is done twice."""
    work, driver = start(tasks=1000, pause=0.01)
    node = next(iter(cluster.worker_nodes))
    os.kill(node.pid, signal.SIGSTOP)
    time.sleep(1.5)  # The length of the fault.
    os.kill(node.pid, signal.SIGCONT)
    work.require_all_once(driver)
    cluster.wait_for_nodes()


def test_a_daemon_is_frozen_until_it_counts_as_dead(cluster, start):
    """Its processes run on, and nobody takes their answers; woken up, it ends them."""
    work, driver = start(tasks=1000, pause=0.01)
    node = next(iter(cluster.worker_nodes))
    below = processes.descendants(node.pid)
    identity = node.node_id
    os.kill(node.pid, signal.SIGSTOP)
    until(lambda: identity not in cluster.head_node._members().values(), "it counts as dead")
    work.require_all(driver)
    os.kill(node.pid, signal.SIGCONT)
    until(lambda: not processes.still_alive(below), f"what it had ends: {below}")
    until(lambda: len(cluster.head_node._members()) == 3, "it is back, under another name")
    assert identity not in cluster.head_node._members().values()


def test_the_head_is_frozen_for_a_moment(cluster, start):
    """The head counts silence in its own time: nobody is dead because it has slept."""
    work, driver = start(tasks=1000, pause=0.01)
    before = cluster.head_node._members()
    os.kill(cluster.head_node.pid, signal.SIGSTOP)
    time.sleep(1.5)  # The length of the fault.
    os.kill(cluster.head_node.pid, signal.SIGCONT)
    work.require_all_once(driver)
    assert cluster.head_node._members() == before


LEAVES_BEHIND = """
import os, sys, time
import whipray as ray
ray.init(address=os.environ["CLUSTER"], log_to_driver=False, namespace="faults")


@ray.remote(num_cpus=0, resources={"node": 0.5})
class Actor:
    def process(self):
        return os.getpid()


@ray.remote(num_cpus=0, resources={"node": 0.1}, max_retries=-1)
def endless():
    while True:
        time.sleep(0.05)


mine = [Actor.options(name=f"mine{number}").remote() for number in range(2)]
kept = Actor.options(name="kept", lifetime="detached").remote()
tasks = [endless.remote() for _ in range(4)]
print("mine", *ray.get([actor.process.remote() for actor in mine], timeout=60))
print("kept", ray.get(kept.process.remote(), timeout=60))
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""


def test_a_driver_is_killed(cluster, drivers):
    """No process works for it any more, on any node; what is detached stays."""
    driver = drivers.start(LEAVES_BEHIND, environment={"CLUSTER": cluster.address})
    driver.until_printed("ready")
    told = dict(line.partition(" ")[::2] for line in driver.stdout.splitlines())
    mine, kept = told["mine"].split(), told["kept"]
    driver.send(signal.SIGKILL)
    driver.finish()

    def is_there(process):
        return os.path.exists(f"/proc/{process}")

    until(lambda: not any(map(is_there, mine)), "its actors are gone")
    assert is_there(kept)
    after = drivers.run(
        """
        import os, time
        import whipray as ray
        ray.init(address=os.environ["CLUSTER"], log_to_driver=False, namespace="faults")
        try:
            ray.get_actor("mine0")
        except ValueError:
            print("gone")
        kept = ray.get_actor("kept")
        print("kept", ray.get(kept.process.remote(), timeout=60))
        deadline = time.monotonic() + 60
        while ray.available_resources().get("node") != 3.5:
            assert time.monotonic() < deadline, ray.available_resources()
            time.sleep(0.02)
        ray.kill(kept)
        """,
        name="after.py",
        environment={"CLUSTER": cluster.address},
    )
    assert "gone" in after.stdout and f"kept {kept}" in after.stdout


def test_the_process_with_the_cluster_is_killed(drivers):
    """Nothing of a `Cluster` outlives the process that made it."""
    driver = drivers.start(
        """
        import time
        from whipray.cluster_utils import Cluster
        cluster = Cluster(initialize_head=True)
        nodes = [cluster.add_node() for _ in range(2)]
        cluster.connect()
        import whipray as ray
        ray.get([ray.remote(lambda: 1).remote() for _ in range(10)], timeout=60)
        print("ready", *(node.pid for node in cluster.list_all_nodes()), flush=True)
        while True:
            time.sleep(0.05)
        """
    )
    driver.until_printed("ready")
    below = processes.descendants(driver.process.pid)
    assert len(below) > 3
    driver.send(signal.SIGKILL)
    driver.finish()
    until(lambda: not processes.still_alive(below), f"everything ends: {below}")


def test_the_head_is_killed_and_nodes_end(cluster, start):
    work, driver = start(tasks=1000, pause=0.01)
    nodes = list(cluster.worker_nodes)
    cluster.head_node.kill_raylet()
    assert driver.finish() != 0, driver.told()
    until(lambda: not any(node.any_processes_alive() for node in nodes), "all daemons end")


def test_a_node_without_its_head_ends_with_its_owner(drivers):
    """It has fenced itself and tries to join again: it still hears that its owner is gone."""
    driver = drivers.start(
        f"""
        import time
        from whipray.cluster_utils import Cluster
        cluster = Cluster(
            initialize_head=True, head_node_args={{"_system_config": {SOON_DEAD!r}}}
        )
        print("ready", cluster.head_node.pid, cluster.add_node().pid, flush=True)
        while True:
            time.sleep(0.05)
        """
    )
    driver.until_printed("ready")
    head, node = map(int, driver.stdout.split()[1:])
    known = processes.look_at(node)
    until(lambda: processes.descendants(node), "the node has its template")
    os.kill(head, signal.SIGSTOP)
    try:
        until(lambda: not processes.descendants(node), "the node has fenced itself")
        driver.send(signal.SIGKILL)
        driver.finish()
        until(lambda: not known.alive, "the node ends")
    finally:
        os.kill(head, signal.SIGCONT)
