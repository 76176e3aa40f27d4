"""Nodes that come and go: what waits for them, and what is lost with them."""

import importlib
import os
import subprocess
import sys
import threading

import pytest
from harness.waiting import until

PLACE = {"resources": {"place": 1}}
NODE = {"num_cpus": 2, "resources": {"place": 2}}


@pytest.fixture(params=["in order", "by a loss of power"])
def lose(ray, request):
    """`lose(cluster, node)` removes a node, and returns when it counts as dead."""

    def lose(cluster, node):
        cluster.remove_node(node, allow_graceful=request.param == "in order")
        cluster.wait_for_nodes()

    return lose


@pytest.fixture
def until_running(tmp_path):
    """`until_running.path` is a file that a task makes, which `until_running()` waits for."""

    class UntilRunning:
        path = tmp_path / "running"

        def __call__(self):
            until(self.path.exists, "the task runs")

    return UntilRunning()


@pytest.fixture
def endless(ray, until_running):
    @ray.remote(num_cpus=0, **PLACE)
    def endless(path=until_running.path):
        import time

        path.touch()
        while True:
            time.sleep(0.02)

    return endless


@pytest.fixture
def large(ray):
    """A value of 5 MB that a task makes at the place."""
    return ray.remote(num_cpus=0, **PLACE)(lambda: bytes(5_000_000))


def waits(ray, reference):
    return ray.wait([reference], timeout=0.5)[0] == []


# ---- nodes that come ----------------------------------------------------------------------------


def test_what_waits_for_a_node(ray, grow, groups, where, Dweller, get):
    cluster = grow()
    task = where.options(**PLACE).remote()
    actor = Dweller.options(num_cpus=0, **PLACE).remote()
    called = actor.node.remote()
    labelled = where.options(label_selector={"zone": "late"}).remote()
    group = groups.placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
    assert waits(ray, task) and waits(ray, called) and waits(ray, labelled)
    assert not group.wait(0.1)
    place = cluster.add_node(**NODE, labels={"zone": "late"}).node_id
    assert get([task, called, labelled]) == [place] * 3
    get(group.ready())


def test_a_queue_moves_to_a_new_node(ray, grow, get):
    cluster = grow(num_cpus=1)

    @ray.remote
    def work(number):
        import time

        time.sleep(0.1)
        return number, ray.get_runtime_context().get_node_id()

    references = [work.remote(number) for number in range(60)]
    get(references[0])
    place = cluster.add_node(num_cpus=4).node_id
    results = get(references)
    assert [number for number, _ in results] == list(range(60))
    assert place in {node for _, node in results}


def test_numbers_of_resources_follow(ray, grow):
    cluster = grow()
    assert ray.cluster_resources()["CPU"] == 2.0
    node = cluster.add_node(**NODE)
    until(lambda: ray.cluster_resources()["CPU"] == 4.0, "the node counts")
    assert ray.cluster_resources()["place"] == 2.0
    cluster.remove_node(node)
    cluster.wait_for_nodes()
    until(lambda: ray.cluster_resources()["CPU"] == 2.0, "the node counts no more")
    assert "place" not in ray.cluster_resources()
    states = {entry["NodeID"]: entry for entry in ray.nodes()}
    assert states[node.node_id]["Alive"] is False
    assert states[node.node_id]["DeathReason"] == 1
    assert states[cluster.head_node.node_id]["Alive"] is True


def test_a_node_that_lost_power(ray, grow):
    cluster = grow(NODE)
    (node,) = cluster.worker_nodes
    cluster.remove_node(node, allow_graceful=False)
    cluster.wait_for_nodes()
    (entry,) = [entry for entry in ray.nodes() if entry["NodeID"] == node.node_id]
    assert (entry["Alive"], entry["DeathReason"]) == (False, 2)
    assert entry["DeathReasonMessage"]


# ---- nodes that go ------------------------------------------------------------------------------


def test_tasks_run_elsewhere(ray, grow, endless, until_running, get, lose, tmp_path):
    cluster = grow(NODE)
    (node,) = cluster.worker_nodes

    @ray.remote(num_cpus=0, **PLACE)
    def second_time(path=until_running.path):
        import time

        if path.exists():
            return ray.get_runtime_context().get_node_id()
        path.touch()
        while True:
            time.sleep(0.02)

    reference = second_time.remote()
    until_running()
    lose(cluster, node)
    assert waits(ray, reference)
    other = cluster.add_node(**NODE)
    assert get(reference) == other.node_id


def test_tasks_without_retries(ray, grow, endless, until_running, get, lose):
    cluster = grow(NODE)
    (node,) = cluster.worker_nodes
    reference = endless.options(max_retries=0).remote()
    until_running()
    lose(cluster, node)
    with pytest.raises(ray.exceptions.NodeDiedError) as caught:
        get(reference)
    assert node.node_id in str(caught.value)


def test_many_tasks_while_a_node_goes(ray, grow, get, lose):
    cluster = grow(NODE, NODE)
    node = next(iter(cluster.worker_nodes))

    @ray.remote(num_cpus=1)
    def work(number):
        import time

        time.sleep(0.02)
        return number

    references = [work.remote(number) for number in range(200)]
    ray.wait(references, num_returns=50)
    lose(cluster, node)
    assert sum(get(references)) == sum(range(200))


def test_actors_die_with_their_node(ray, grow, Dweller, get, lose):
    cluster = grow(NODE)
    (node,) = cluster.worker_nodes
    actor = Dweller.options(**PLACE).remote()
    get(actor.node.remote())
    lose(cluster, node)
    with pytest.raises(ray.exceptions.ActorDiedError) as caught:
        get(actor.add.remote(1))
    assert node.node_id in str(caught.value)


def test_actors_that_may_restart(ray, grow, Dweller, get, lose):
    cluster = grow(NODE)
    (node,) = cluster.worker_nodes
    actor = Dweller.options(max_restarts=1, max_task_retries=-1, **PLACE).remote(100)
    careful = Dweller.options(max_restarts=1, **PLACE).remote()
    assert get(actor.add.remote(1)) == 101
    get(careful.node.remote())
    lose(cluster, node)
    waiting = actor.add.remote(5)
    assert waits(ray, waiting)
    other = cluster.add_node(**NODE)
    assert get(waiting) == 105
    assert get(actor.node.remote()) == other.node_id
    until(lambda: _answers(ray, careful), "the other actor answers again")
    lose(cluster, other)
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(actor.add.remote(1))


def _answers(ray, actor):
    try:
        return ray.get(actor.node.remote(), timeout=60)
    except ray.exceptions.ActorUnavailableError:
        return None


def test_calls_that_are_lost_with_their_node(ray, grow, until_running, get, lose):
    cluster = grow(NODE)
    (node,) = cluster.worker_nodes

    @ray.remote(num_cpus=0, max_restarts=1, **PLACE)
    class Actor:
        def wait(self, path=until_running.path):
            import time

            path.touch()
            time.sleep(3600)

    actor = Actor.remote()
    lost = actor.wait.remote()
    until_running()
    lose(cluster, node)
    with pytest.raises(ray.exceptions.ActorUnavailableError):
        get(lost)


def test_values_are_made_again(ray, grow, large, get, lose):
    cluster = grow(NODE)
    (node,) = cluster.worker_nodes
    reference = large.remote()
    length = ray.remote(num_cpus=0)(lambda value: len(value))
    ray.wait([reference], fetch_local=False)
    lose(cluster, node)
    dependent = length.remote(reference)
    assert waits(ray, dependent)
    cluster.add_node(**NODE)
    assert get(dependent) == 5_000_000
    assert len(get(reference)) == 5_000_000


def test_a_chain_of_values_is_made_again(ray, grow, get, lose, tmp_path):
    cluster = grow(NODE)
    (node,) = cluster.worker_nodes

    @ray.remote(num_cpus=0, **PLACE)
    def increase(values, log=tmp_path / "log"):
        with open(log, "a") as file:
            file.write("x")
        return bytes([values[0] + 1]) * 1_000_000

    reference = ray.put(bytes(1_000_000))
    for _ in range(5):
        reference = increase.remote(reference)
    ray.wait([reference], fetch_local=False)
    lose(cluster, node)
    cluster.add_node(**NODE)
    assert get(reference) == bytes([5]) * 1_000_000


def test_values_that_may_not_be_made_again(ray, grow, large, get, lose):
    cluster = grow(NODE)
    (node,) = cluster.worker_nodes
    reference = large.options(max_retries=0).remote()
    ray.wait([reference], fetch_local=False)
    lose(cluster, node)
    with pytest.raises(ray.exceptions.ObjectLostError):
        get(reference)


def test_a_copy_elsewhere_is_enough(ray, grow, large, get, lose):
    cluster = grow(NODE)
    (node,) = cluster.worker_nodes
    reference = large.options(max_retries=0).remote()
    assert len(get(reference)) == 5_000_000
    lose(cluster, node)
    length = ray.remote(num_cpus=0)(lambda value: len(value))
    assert get(length.remote(reference)) == 5_000_000


def test_values_of_owners_that_are_gone(ray, grow, get, lose):
    cluster = grow(NODE)
    (node,) = cluster.worker_nodes

    @ray.remote(num_cpus=0, **PLACE)
    class Owner:
        def put(self):
            return [ray.put(bytes(5_000_000)), ray.put(1)]

    owner = Owner.remote()
    references = get(owner.put.remote())
    lose(cluster, node)
    for reference in references:
        with pytest.raises(ray.exceptions.OwnerDiedError):
            get(reference)


def test_what_was_put_here_stays(ray, grow, where, get, lose):
    cluster = grow(NODE, {"num_cpus": 1, "resources": {"other": 1}})
    node = next(n for n in cluster.worker_nodes if "place" in _resources(ray, n))
    reference = ray.put(bytes(5_000_000))
    length = ray.remote(num_cpus=0)(lambda value: len(value))
    assert get(length.options(**PLACE).remote(reference)) == 5_000_000
    lose(cluster, node)
    assert get(length.options(resources={"other": 1}).remote(reference)) == 5_000_000


def _resources(ray, node):
    return next(e for e in ray.nodes() if e["NodeID"] == node.node_id)["Resources"]


def test_affinity_to_a_node_that_is_gone(ray, grow, where, strategies, get, lose):
    cluster = grow(NODE)
    (node,) = cluster.worker_nodes
    lose(cluster, node)
    hard = strategies.NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    with pytest.raises(ray.exceptions.TaskUnschedulableError):
        get(where.options(scheduling_strategy=hard).remote())
    soft = strategies.NodeAffinitySchedulingStrategy(node.node_id, soft=True)
    assert get(where.options(scheduling_strategy=soft).remote()) == cluster.head_node.node_id


def test_bundles_are_placed_anew(ray, grow, groups, strategies, Dweller, get, lose):
    cluster = grow(NODE, NODE, num_cpus=0)
    group = groups.placement_group([{"CPU": 1, "place": 1}] * 2, strategy="STRICT_SPREAD")
    get(group.ready())
    before = groups.placement_group_table(group)["bundles_to_node_id"]
    strategy = strategies.PlacementGroupSchedulingStrategy
    actors = [
        Dweller.options(
            num_cpus=1,
            max_restarts=-1,
            max_task_retries=-1,
            scheduling_strategy=strategy(group, bundle),
        ).remote()
        for bundle in range(2)
    ]
    assert get([actor.node.remote() for actor in actors]) == [before[0], before[1]]
    node = next(n for n in cluster.worker_nodes if n.node_id == before[1])
    lose(cluster, node)
    until(
        lambda: groups.placement_group_table(group)["state"] == "RESCHEDULING",
        "the group lacks a bundle",
    )
    waiting = actors[1].node.remote()
    assert waits(ray, waiting)
    assert get(actors[0].node.remote()) == before[0]
    other = cluster.add_node(**NODE)
    assert get(waiting) == other.node_id
    after = groups.placement_group_table(group)
    assert after["state"] == "CREATED"
    assert after["bundles_to_node_id"] == {0: before[0], 1: other.node_id}


def test_processes_of_a_node_end_with_it(ray, grow, Dweller, get, lose):
    cluster = grow(NODE)
    (node,) = cluster.worker_nodes
    actors = [Dweller.options(num_cpus=0, resources={"place": 0.1}).remote() for _ in range(4)]
    processes = get([actor.process.remote() for actor in actors])
    lose(cluster, node)
    until(
        lambda: not any(os.path.exists(f"/proc/{process}") for process in processes),
        "the processes are gone",
    )


def test_get_in_another_thread_hears_of_it(ray, grow, endless, until_running, get, lose):
    cluster = grow(NODE)
    (node,) = cluster.worker_nodes
    reference = endless.options(max_retries=0).remote()
    until_running()
    heard = []

    def wait():
        try:
            ray.get(reference, timeout=60)
        except ray.exceptions.RayError as error:
            heard.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    lose(cluster, node)
    waiting.join(60)
    assert [type(error) for error in heard] == [ray.exceptions.NodeDiedError]


# ---- nodes that are about to go -----------------------------------------------------------------


def test_the_process_of_a_node_is_killed(ray, grow):
    cluster = grow(NODE)
    (node,) = cluster.worker_nodes
    identity = node.node_id
    process = node.all_processes["raylet"][0].process
    assert process.poll() is None and process.pid > 0
    process.kill()
    assert process.wait(60) == -9
    until(lambda: entry_of_id(ray, identity)["Alive"] is False, "the node counts as dead")
    # What is gone has nothing; those who look for a resource found it there.
    assert entry_of_id(ray, identity)["Resources"] == {}
    assert not node.remaining_processes_alive()
    assert "gcs_server" in cluster.head_node.all_processes
    assert cluster.head_node.metrics_export_port >= 0


def entry_of_id(ray, identity):
    return next(entry for entry in ray.nodes() if entry["NodeID"] == identity)


@pytest.fixture
def drain(engine):
    """`drain(cluster, node, reason, message, *more)` runs the command `drain-node`."""

    def drain(cluster, node, reason, message, *more):
        command = os.path.join(os.path.dirname(sys.executable), engine.name)
        return subprocess.run(
            [
                command,
                "drain-node",
                "--address",
                cluster.address,
                "--node-id",
                node.node_id,
                "--reason",
                f"DRAIN_NODE_REASON_{reason}",
                "--reason-message",
                message,
                *more,
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )

    return drain


def entry_of(ray, node):
    return next(entry for entry in ray.nodes() if entry["NodeID"] == node.node_id)


def test_drained_node_gets_nothing_new(ray, grow, where, Dweller, drain, get):
    cluster = grow(NODE)
    (node,) = cluster.worker_nodes
    actor = Dweller.options(num_cpus=1, **PLACE).remote()
    assert get(actor.node.remote()) == node.node_id
    done = drain(cluster, node, "PREEMPTION", "spot", "--deadline-remaining-seconds", "600")
    assert done.returncode == 0, done.stderr
    placed = get([where.options(scheduling_strategy="SPREAD").remote() for _ in range(12)])
    assert set(placed) == {cluster.head_node.node_id}
    assert waits(ray, where.options(**PLACE).remote())
    assert get(actor.add.remote(7)) == 7
    assert entry_of(ray, node)["Alive"] is True
    # It leaves when it has nothing to do any more.
    ray.kill(actor)
    until(lambda: not entry_of(ray, node)["Alive"], "the node has left")
    assert entry_of(ray, node)["DeathReason"] == 3
    assert entry_of(ray, node)["DeathReasonMessage"].endswith("spot")
    until(lambda: not node.any_processes_alive(), "its daemon has ended")


@pytest.mark.whipray_only
def test_restarts_by_drains_are_counted(ray, grow, Dweller, drain, get, engine):
    """The count was always zero, and the tasks that had run there had no node."""
    state = importlib.import_module(f"{engine.name}.util.state")
    cluster = grow(NODE)
    (node,) = cluster.worker_nodes
    first = node.node_id
    actor = Dweller.options(num_cpus=0, max_restarts=-1, **PLACE).remote()
    assert get(actor.node.remote()) == first
    done = drain(cluster, node, "PREEMPTION", "spot", "--deadline-remaining-seconds", "1")
    assert done.returncode == 0, done.stderr
    cluster.add_node(**NODE)
    row = until(
        lambda: next(
            (
                row
                for row in state.list_actors(filters=[("num_restarts", "=", 1)], detail=True)
                if row.state == "ALIVE"
            ),
            None,
        ),
        "the actor lives on the other node",
    )
    assert row.num_restarts_due_to_node_preemption == 1 and row.node_id != first
    assert row.death_cause is None
    (ran,) = state.list_tasks(filters=[("name", "=", "Dweller.node")])
    assert (ran.state, ran.node_id) == ("FINISHED", first)


@pytest.fixture
def made_at_place(ray, tmp_path):
    """`made_at_place(bytes)` is a value that a task without retries makes at the place.

    Its executions are counted in `made_at_place.count()`.
    """
    log = tmp_path / "executions"

    @ray.remote(num_cpus=0, max_retries=0, **PLACE)
    def make(size, log=log):
        with open(log, "a") as file:
            file.write("x")
        return bytes([7]) * size

    def made_at_place(size):
        reference = make.remote(size)
        ray.wait([reference], fetch_local=False)
        return reference

    made_at_place.count = lambda: len(log.read_text())
    return made_at_place


def until_left(ray, node):
    until(lambda: not entry_of(ray, node)["Alive"], "the node has left")
    until(lambda: not node.any_processes_alive(), "its daemon has ended")


@pytest.mark.parametrize("within", [(), ("--deadline-remaining-seconds", "60")])
def test_values_outlive_a_drained_node(ray, grow, drain, get, made_at_place, within):
    cluster = grow(NODE, {"num_cpus": 1, "resources": {"other": 1}})
    node = next(n for n in cluster.worker_nodes if "place" in _resources(ray, n))
    large, larger = made_at_place(5_000_000), made_at_place(20_000_000)
    small = [made_at_place(200_000) for _ in range(40)]
    done = drain(cluster, node, "PREEMPTION", "spot", *within)
    assert done.returncode == 0, done.stderr
    until_left(ray, node)
    # Who owns them, and somebody else.
    assert get(large) == bytes([7]) * 5_000_000
    length = ray.remote(num_cpus=0)(lambda value: len(value))
    elsewhere = length.options(resources={"other": 1})
    assert get(elsewhere.remote(larger)) == 20_000_000
    assert [len(value) for value in get(small)] == [200_000] * 40
    assert made_at_place.count() == 42


def test_what_an_actor_made_outlives_its_node(ray, grow, drain, get):
    cluster = grow(NODE)
    (node,) = cluster.worker_nodes

    @ray.remote(num_cpus=0, **PLACE)
    class Maker:
        def make(self):
            return bytes([5]) * 5_000_000

    maker = Maker.remote()
    reference = maker.make.remote()
    ray.wait([reference], fetch_local=False)
    done = drain(cluster, node, "PREEMPTION", "spot")
    assert done.returncode == 0, done.stderr
    ray.kill(maker)
    until_left(ray, node)
    assert get(reference) == bytes([5]) * 5_000_000


def test_values_are_read_while_their_node_is_drained(ray, grow, drain, get, made_at_place):
    cluster = grow(NODE, {"num_cpus": 2, "resources": {"other": 2}})
    node = next(n for n in cluster.worker_nodes if "place" in _resources(ray, n))
    references = [made_at_place(2_000_000) for _ in range(30)]

    @ray.remote(num_cpus=0, resources={"other": 0.1})
    def length(value):
        return len(value)

    first = [length.remote(reference) for reference in references]
    done = drain(cluster, node, "PREEMPTION", "spot")
    assert done.returncode == 0, done.stderr
    second = [length.remote(reference) for reference in references]
    assert get(first) == get(second) == [2_000_000] * 30
    until_left(ray, node)
    assert get([length.remote(reference) for reference in references]) == [2_000_000] * 30
    assert made_at_place.count() == 30


@pytest.mark.whipray_only
def test_values_that_have_no_room_elsewhere(ray, grow, drain, get, made_at_place):
    small = {"object_store_memory": 80 * 1024 * 1024}
    unspilled = {"_system_config": {"automatic_object_spilling_enabled": False}}
    cluster = grow(NODE | {"object_store_memory": 400 * 1024 * 1024}, **small, **unspilled)
    (node,) = cluster.worker_nodes
    fits, too_large = made_at_place(20_000_000), made_at_place(150_000_000)
    seconds = ("--deadline-remaining-seconds", "5")
    done = drain(cluster, node, "PREEMPTION", "spot", *seconds)
    assert done.returncode == 0, done.stderr
    until_left(ray, node)
    message = entry_of(ray, node)["DeathReasonMessage"]
    assert "1 objects of 150" in message and "does not fit" in message
    assert len(get(fits)) == 20_000_000
    with pytest.raises(ray.exceptions.ObjectLostError) as caught:
        get(too_large)
    assert node.node_id in str(caught.value)


def test_a_busy_node_is_not_drained_as_idle(ray, grow, Dweller, drain, get):
    cluster = grow(NODE)
    (node,) = cluster.worker_nodes
    actor = Dweller.options(num_cpus=1, **PLACE).remote()
    get(actor.node.remote())
    done = drain(cluster, node, "IDLE_TERMINATION", "idle")
    assert done.returncode == 1
    assert "idle" in done.stderr
    assert get(actor.add.remote(1)) == 1


def test_an_idle_node_is_drained(ray, grow, drain):
    cluster = grow(NODE)
    (node,) = cluster.worker_nodes
    done = drain(cluster, node, "IDLE_TERMINATION", "idle")
    assert done.returncode == 0, done.stderr
    until(lambda: not entry_of(ray, node)["Alive"], "the node has left")
    assert entry_of(ray, node)["DeathReason"] == 4
    assert entry_of(ray, node)["DeathReasonMessage"].endswith("idle")


def test_unknown_reasons(grow, drain):
    cluster = grow()
    done = drain(cluster, cluster.head_node, "WEATHER", "rain")
    assert done.returncode == 2
    assert "IDLE_TERMINATION" in done.stderr and "PREEMPTION" in done.stderr
