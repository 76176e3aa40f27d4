"""Clusters whose nodes come and go by what is to be done: the autoscaler with nodes that are
processes of this machine.

Ray's cluster of this kind ends every other one of the machine when it starts, so that these
scenarios are not run there.
"""

import os
import signal
import subprocess
import sys
import time

import pytest
import whipray as ray
from harness.waiting import GENEROUS_SECONDS, until
from whipray._daemon import binary
from whipray.autoscaler.sdk import request_resources
from whipray.cluster_utils import AutoscalingCluster

pytestmark = pytest.mark.whipray_only

CPU_TYPE = {"cpu": {"resources": {"CPU": 2}, "node_config": {}}}
GPU_TYPE = {"gpu": {"resources": {"CPU": 1, "GPU": 1}, "labels": {"zone": "a"}, "node_config": {}}}


@pytest.fixture
def cluster():
    """Starts clusters, each with a driver that is connected to it; ends them all."""
    started = []

    def start(types, head=None, **config):
        config.setdefault("idle_timeout_minutes", 10)
        cluster = AutoscalingCluster(head or {"CPU": 1}, types, **config)
        cluster.start()
        started.append(cluster)
        ray.init(cluster.address, log_to_driver=False)
        return cluster

    yield start
    ray.shutdown()
    for each in started:
        each.shutdown()


def alive(node_type=None):
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if node_type is None:
        return nodes
    return [node for node in nodes if node["Labels"].get("ray.io/node-group") == node_type]


def has(count, node_type=None):
    """Wait until there are so many nodes, of a type or in all."""
    until(lambda: len(alive(node_type)) == count, f"there are {count} nodes")


def status_of(cluster):
    words = [binary(), "status", f"--address={cluster.address}"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def stays(is_so, seconds=2.0):
    """Whether something holds for a while: what must not happen cannot be waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not is_so():
            return False
        time.sleep(0.1)
    return True


def daemons_of(cluster):
    """The process ids of the daemons of nodes that the autoscaler has started."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/cmdline", encoding="utf-8") as file:
                words = file.read().split("\0")
        except OSError:
            continue
        if words[1:2] == ["daemon"] and f'"address":"{cluster.address}"' in str(words):
            found.append(int(name))
    return found


@ray.remote
def where():
    return ray.get_runtime_context().get_node_id()


@ray.remote(num_cpus=2)
def where_with_two_cpus(seconds=0.0):
    time.sleep(seconds)
    return ray.get_runtime_context().get_node_id()


def test_tasks_start_the_nodes_that_they_need(cluster):
    cluster({**CPU_TYPE, **GPU_TYPE})
    assert len(alive()) == 1
    # There is room for this one: nothing is started.
    ray.get(where.remote(), timeout=GENEROUS_SECONDS)
    assert stays(lambda: len(alive()) == 1, 1)
    node = ray.get(where.options(num_gpus=1).remote(), timeout=GENEROUS_SECONDS)
    assert [it["NodeID"] for it in alive("gpu")] == [node]
    assert alive("cpu") == []
    nodes = ray.get([where_with_two_cpus.remote(1) for _ in range(3)], timeout=GENEROUS_SECONDS)
    assert {it["NodeID"] for it in alive("cpu")} >= set(nodes)


def test_max_workers_is_never_exceeded(cluster):
    cluster({"cpu": {**CPU_TYPE["cpu"], "max_workers": 2}})
    references = [where_with_two_cpus.remote(0.4) for _ in range(8)]
    counts = set()
    while ray.wait(references, num_returns=len(references), timeout=0.1)[1]:
        counts.add(len(alive("cpu")))
    assert max(counts) == 2
    assert len(set(ray.get(references))) == 2


def test_min_workers_are_there_from_the_start_and_stay(cluster):
    cluster({"cpu": {**CPU_TYPE["cpu"], "min_workers": 2}}, idle_timeout_minutes=0.01)
    has(2, "cpu")
    assert stays(lambda: len(alive("cpu")) == 2, 3)


def test_idle_nodes_go_and_come_again(cluster):
    cluster(CPU_TYPE, idle_timeout_minutes=0.01)
    ray.get(where_with_two_cpus.remote(), timeout=GENEROUS_SECONDS)
    has(1)
    dead = [node for node in ray.nodes() if not node["Alive"]]
    assert "idle" in dead[0]["DeathReasonMessage"]
    ray.get(where_with_two_cpus.remote(), timeout=GENEROUS_SECONDS)


def test_an_object_keeps_its_node(cluster):
    cluster(CPU_TYPE, idle_timeout_minutes=0.005)

    @ray.remote(num_cpus=2, max_retries=0)
    def large():
        return bytes(1 << 20)

    reference = large.remote()
    ray.wait([reference], timeout=GENEROUS_SECONDS, fetch_local=False)
    assert stays(lambda: len(alive("cpu")) == 1, 4)
    assert len(ray.get(reference, timeout=GENEROUS_SECONDS)) == 1 << 20
    del reference
    has(0, "cpu")


def test_what_a_task_has_put_keeps_the_node_of_its_owner(cluster):
    cluster(CPU_TYPE, idle_timeout_minutes=0.005)

    @ray.remote(num_cpus=2)
    def small():
        return [ray.put("small")]

    [reference] = ray.get(small.remote(), timeout=GENEROUS_SECONDS)
    assert stays(lambda: len(alive("cpu")) == 1, 5)
    assert ray.get(reference, timeout=GENEROUS_SECONDS) == "small"
    del reference
    has(0, "cpu")


def test_an_actor_keeps_its_node_also_where_it_holds_nothing(cluster):
    cluster(CPU_TYPE, head={"CPU": 0}, idle_timeout_minutes=0.005)

    @ray.remote
    class Counter:
        def ready(self):
            return True

    actor = Counter.remote()
    assert ray.get(actor.ready.remote(), timeout=GENEROUS_SECONDS)
    assert stays(lambda: len(alive("cpu")) == 1, 4)
    ray.kill(actor)
    has(0, "cpu")


def test_an_actor_that_waits_for_a_busy_head_goes_to_the_node_that_comes(cluster):
    cluster(CPU_TYPE)

    @ray.remote(num_cpus=1)
    class Holder:
        def node(self):
            return ray.get_runtime_context().get_node_id()

    first, second = Holder.remote(), Holder.remote()
    nodes = ray.get([first.node.remote(), second.node.remote()], timeout=GENEROUS_SECONDS)
    assert nodes[1] == alive("cpu")[0]["NodeID"] != nodes[0]


def test_a_gang_gets_all_of_its_nodes(cluster):
    cluster(CPU_TYPE)
    group = ray.util.placement_group([{"CPU": 2}] * 3, strategy="STRICT_SPREAD")
    ray.get(group.ready(), timeout=GENEROUS_SECONDS)
    nodes = ray.util.placement_group_table(group)["bundles_to_node_id"].values()
    assert len(set(nodes)) == 3
    ray.util.remove_placement_group(group)


def test_a_gang_that_cannot_have_all_of_its_nodes_starts_none(cluster):
    cluster(CPU_TYPE, max_workers=2)
    group = ray.util.placement_group([{"CPU": 2}] * 3, strategy="STRICT_SPREAD")
    assert not group.wait(2)
    assert len(alive()) == 1


def test_labels_choose_the_type(cluster):
    cluster({**CPU_TYPE, **GPU_TYPE})
    task = where.options(num_cpus=1, label_selector={"zone": "a"})
    node = ray.get(task.remote(), timeout=GENEROUS_SECONDS)
    assert [it["NodeID"] for it in alive("gpu")] == [node]


def test_requests_make_the_cluster_larger_and_smaller(cluster):
    cluster(CPU_TYPE, idle_timeout_minutes=0.01)
    request_resources(num_cpus=4)
    has(2, "cpu")
    assert stays(lambda: len(alive("cpu")) == 2, 3)
    request_resources(bundles=[{"CPU": 2}])
    has(1, "cpu")
    request_resources()
    has(0, "cpu")


def test_requests_that_make_no_sense_are_refused(cluster):
    cluster(CPU_TYPE)
    with pytest.raises(TypeError):
        request_resources(num_cpus="many")
    with pytest.raises(TypeError):
        request_resources(bundles={"CPU": 1})
    with pytest.raises(ValueError, match="one for each bundle"):
        request_resources(bundles=[{"CPU": 1}], bundle_label_selectors=[{}, {}])


def test_a_node_that_is_killed_is_replaced_where_there_is_demand(cluster):
    started = cluster(CPU_TYPE, max_workers=1)

    @ray.remote(num_cpus=2, max_restarts=-1, max_task_retries=-1)
    class Survivor:
        def pid(self):
            return os.getpid()

    actor = Survivor.remote()
    before = ray.get(actor.pid.remote(), timeout=GENEROUS_SECONDS)
    [daemon] = daemons_of(started)
    os.kill(daemon, signal.SIGKILL)
    # The process may answer once more before it notices.
    until(
        lambda: ray.get(actor.pid.remote(), timeout=GENEROUS_SECONDS) != before,
        "the actor lives elsewhere",
    )
    assert daemons_of(started) != [daemon]


def test_what_no_type_can_serve_says_so_and_what_one_can_says_which(cluster):
    started = cluster({"cpu": {**CPU_TYPE["cpu"], "max_workers": 1}})
    holder = where_with_two_cpus.remote(30)
    has(1, "cpu")
    waits = where_with_two_cpus.remote()
    never = where.options(resources={"gold": 1}).remote()
    until(lambda: "can never run: asks for 1 gold" in status_of(started), "it is told so")
    text = status_of(started)
    assert "Active:    1 cpu, 1 ray.head.default" in text
    assert text.count("can never run") == 1, text
    ray.cancel(never, force=True)
    ray.cancel(waits, force=True)
    ray.cancel(holder, force=True)


def test_a_type_whose_nodes_do_not_start_is_named_with_why(cluster):
    resources = {"GPU": 1, "object_store_memory": 1}
    started = cluster({"tiny": {"resources": resources, "node_config": {}}})
    reference = where.options(num_cpus=0, num_gpus=1).remote()
    why = "waits for a node of type tiny: the last start of one failed: object_store_memory"
    until(lambda: why in status_of(started), "the reason is shown")
    assert "Failed:    tiny" in status_of(started)
    assert "can never run" not in status_of(started)
    explanation = ray.explain(reference)
    assert explanation.code == "WAITS_FOR_RESOURCES"
    assert why in explanation.text
    ray.cancel(reference, force=True)


def test_the_end_leaves_no_process(cluster):
    started = cluster({"cpu": {**CPU_TYPE["cpu"], "min_workers": 2}})
    has(2, "cpu")
    daemons = daemons_of(started)
    assert len(daemons) == 2
    ray.shutdown()
    started.shutdown()
    assert not any(os.path.exists(f"/proc/{pid}") for pid in daemons)


def test_nodes_end_with_a_head_that_is_killed(cluster):
    started = cluster({"cpu": {**CPU_TYPE["cpu"], "min_workers": 2}})
    has(2, "cpu")
    daemons = daemons_of(started)
    ray.shutdown()
    os.kill(started._daemon.pid, signal.SIGKILL)
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in daemons), "they are gone")


def test_a_bad_configuration_is_refused_with_what_is_wrong():
    cluster = AutoscalingCluster({"CPU": 1}, {"cpu": {"resources": {"CPU": -1}}})
    with pytest.raises(RuntimeError, match="cpu.resources: CPU must be a number from 0"):
        cluster.start()
    cluster = AutoscalingCluster({"CPU": 1}, CPU_TYPE, provider={"type": "aws"})
    with pytest.raises(RuntimeError, match="fake_multinode starts nodes as processes"):
        cluster.start()
    cluster.shutdown()


CONFIGURATION = """
cluster_name: of-a-file
max_workers: 2
provider: {type: fake_multinode}
head_node_type: head
available_node_types:
  head: {resources: {CPU: 1}, node_config: {}}
  cpu:
    resources: {CPU: 2}
    node_config: {}
    min_workers: 1
"""


def test_the_command_starts_such_a_cluster_and_ends_it(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text(CONFIGURATION)

    def whipray(*words):
        # As the command that is installed has it.
        variables = {**os.environ, "WHIPRAY_PYTHON": sys.executable}
        return subprocess.run([binary(), *words], capture_output=True, text=True, env=variables)

    def start():
        words = ["start", "--head", "--port=0", "--num-cpus=1"]
        return whipray(*words, f"--autoscaling-config={path}")

    done = start()
    assert done.returncode == 0, done.stderr
    try:
        shown = "Active:    1 cpu, 1 head"
        until(lambda: shown in whipray("status").stdout, "the node is there")
    finally:
        done = whipray("stop")
    assert done.returncode == 0, done.stderr
    path.write_text(CONFIGURATION.replace("min_workers: 1", "min_workers: 3"))
    done = start()
    assert done.returncode == 1
    assert "cpu.min_workers: 3 is more than its max_workers, 2" in done.stderr
    done = whipray("start", "--address=127.0.0.1:1", f"--autoscaling-config={path}")
    assert "--autoscaling-config is for the head" in done.stderr
