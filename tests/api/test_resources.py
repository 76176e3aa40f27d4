"""Logical resources: how much there is, who holds it, and what never fits."""

import threading

import pytest
from harness.waiting import until

CPUS = 4

pytestmark = [
    pytest.mark.cluster(num_cpus=CPUS, num_gpus=2, resources={"gold": 3, "silver": 1}),
    pytest.mark.usefixtures("cluster"),
]


@pytest.fixture(scope="module")
def holder_class(ray):
    @ray.remote(num_cpus=0)
    class Holder:
        def resources(self):
            return ray.get_runtime_context().get_assigned_resources()

    return Holder


def free(ray, name):
    """What is left of a resource; one that is used up is not listed."""
    return ray.available_resources().get(name, 0)


def test_of_the_cluster(ray):
    resources = ray.cluster_resources()
    assert resources["CPU"] == CPUS
    assert resources["GPU"] == 2
    assert resources["gold"] == 3
    assert resources["memory"] > 0 and resources["object_store_memory"] > 0
    assert resources["node:__internal_head__"] == 1
    assert f"node:{ray.util.get_node_ip_address()}" in resources
    assert all(type(amount) is float for amount in resources.values())


def test_of_a_task(ray, get):
    @ray.remote
    def assigned():
        return ray.get_runtime_context().get_assigned_resources()

    assert get(assigned.remote()) == {"CPU": 1}
    assert get(assigned.options(num_cpus=0.5).remote()) == {"CPU": 0.5}
    assert get(assigned.options(num_cpus=0).remote()) == {}
    assert get(assigned.options(num_cpus=2, resources={"gold": 1.5}).remote()) == {
        "CPU": 2,
        "gold": 1.5,
    }
    assert get(assigned.options(memory=1024**2).remote()) == {"CPU": 1, "memory": 1024**2}


def test_of_an_actor(holder_class, get):
    actor = holder_class.options(num_cpus=0.5, resources={"gold": 0.25}).remote()
    assert get(actor.resources.remote()) == {"CPU": 0.5, "gold": 0.25}


def test_actor_holds_no_cpu_unless_it_asks(ray, get):
    @ray.remote
    class Plain:
        def resources(self):
            return ray.get_runtime_context().get_assigned_resources()

    actors = [Plain.remote() for _ in range(CPUS + 1)]
    assert get([actor.resources.remote() for actor in actors]) == [{}] * (CPUS + 1)


def test_held_while_an_actor_lives(ray, holder_class, get):
    until(lambda: free(ray, "gold") == 3, "nobody holds gold")
    actor = holder_class.options(resources={"gold": 2}).remote()
    get(actor.resources.remote())
    until(lambda: free(ray, "gold") == 1, "two are held")
    ray.kill(actor)
    until(lambda: free(ray, "gold") == 3, "all came back")


def test_exhausted_resource_is_not_listed(ray, holder_class, get):
    actor = holder_class.options(resources={"silver": 1}).remote()
    get(actor.resources.remote())
    until(lambda: "silver" not in ray.available_resources(), "no silver is left")
    ray.kill(actor)
    until(lambda: free(ray, "silver") == 1, "it came back")


def test_limits_how_many_run_at_once(ray, get, tmp_path):
    @ray.remote(num_cpus=0)
    class Meter:
        def __init__(self):
            self.inside = self.most = 0

        def enter(self):
            self.inside += 1
            self.most = max(self.most, self.inside)

        def leave(self):
            self.inside -= 1

        def peak(self):
            return self.most

    meter = Meter.remote()

    @ray.remote(num_cpus=0.1, resources={"gold": 1.5})
    def work():
        ray.get(meter.enter.remote())
        threading.Event().wait(0.02)
        ray.get(meter.leave.remote())

    get([work.remote() for _ in range(8)])
    assert get(meter.peak.remote()) <= 2


def test_fractions_share_one(ray, holder_class, get):
    actors = [holder_class.options(resources={"silver": 0.25}).remote() for _ in range(4)]
    get([actor.resources.remote() for actor in actors])
    fifth = holder_class.options(resources={"silver": 0.25}).remote()
    waiting = fifth.resources.remote()
    assert ray.wait([waiting], timeout=0.2)[0] == []
    ray.kill(actors[0])
    assert get(waiting) == {"silver": 0.25}
    for actor in [*actors, fifth]:
        ray.kill(actor)
    until(lambda: free(ray, "silver") == 1, "it came back")


def test_tiny_amounts(ray, get):
    @ray.remote(num_cpus=0, resources={"gold": 0.0001})
    def tiny():
        return ray.get_runtime_context().get_assigned_resources()

    assert get(tiny.remote()) == {"gold": pytest.approx(0.0001)}
    until(lambda: free(ray, "gold") == 3, "all came back")


def test_blocked_task_gives_its_cpus_back(ray, get):
    @ray.remote(num_cpus=CPUS)
    def inner():
        return "inner"

    @ray.remote(num_cpus=CPUS)
    def outer():
        return ray.get(inner.remote())

    assert get(outer.remote()) == "inner"


def test_blocked_task_keeps_its_custom_resources(ray, get):
    @ray.remote(resources={"silver": 1})
    def silver():
        return "taken"

    @ray.remote
    def take():
        reference = silver.remote()
        ready, _ = ray.wait([reference], timeout=0.2)
        ray.cancel(reference)
        return "gets it" if ready else "waits"

    @ray.remote(num_cpus=1, resources={"silver": 1})
    def outer():
        return ray.get(take.remote())

    assert get(outer.remote()) == "waits"


def test_everything_comes_back_after_tasks(ray, get):
    @ray.remote
    def fail():
        raise ValueError

    tasks = [ray.remote(lambda: None).remote() for _ in range(20)]
    tasks += [fail.remote() for _ in range(5)]
    ray.wait(tasks, num_returns=len(tasks))
    until(
        lambda: all(
            free(ray, name) == amount
            for name, amount in ray.cluster_resources().items()
            if name in ("CPU", "GPU", "gold", "silver")
        ),
        "everything is free again",
    )


@pytest.mark.parametrize(
    "options",
    [
        {"num_cpus": CPUS + 1},
        {"num_gpus": 3},
        {"resources": {"gold": 4}},
        {"resources": {"platinum": 1}},
        {"memory": 2**40},
    ],
    ids=str,
)
def test_impossible_request_stays_pending(ray, options):
    reference = ray.remote(**options)(lambda: 1).remote()
    assert ray.wait([reference], timeout=0.2) == ([], [reference])
    ray.cancel(reference)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(reference, timeout=30)


def test_impossible_request_does_not_hold_others_up(ray, get):
    impossible = ray.remote(resources={"platinum": 1})(lambda: 1).remote()
    assert get([ray.remote(lambda n=n: n).remote() for n in range(10)]) == list(range(10))
    ray.cancel(impossible)


def test_impossible_actor_stays_pending(ray, holder_class):
    actor = holder_class.options(resources={"platinum": 1}).remote()
    reference = actor.resources.remote()
    assert ray.wait([reference], timeout=0.2)[0] == []
    ray.kill(actor)


def test_pending_task_with_large_request_gets_its_turn(ray, get):
    """Small tasks must not keep a task that needs the whole machine out for ever."""
    wide = ray.remote(num_cpus=CPUS)(lambda: "wide").remote()
    small = [ray.remote(lambda: None).remote() for _ in range(50)]
    assert get(wide) == "wide"
    get(small)
