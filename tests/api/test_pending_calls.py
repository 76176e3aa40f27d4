"""`max_pending_calls`: how many calls of one process may wait for an actor."""

import threading

import pytest
from harness.waiting import GENEROUS_SECONDS, until

pytestmark = [pytest.mark.cluster(num_cpus=1), pytest.mark.usefixtures("cluster")]


@pytest.fixture
def gate_class(ray):
    @ray.remote(num_cpus=0, max_concurrency=2)
    class Gate:
        def __init__(self):
            self.opened = threading.Event()

        def open(self):
            self.opened.set()

        def wait(self):
            return self.opened.wait(GENEROUS_SECONDS)

    return Gate


def test_too_many(ray, gate_class, get):
    gate = gate_class.options(max_pending_calls=2).remote()
    first = gate.wait.remote()
    second = gate.wait.remote()
    with pytest.raises(ray.exceptions.PendingCallsLimitExceeded, match="max_pending_calls"):
        gate.wait.remote()
    ray.kill(gate)
    for reference in (first, second):
        with pytest.raises(ray.exceptions.RayActorError):
            get(reference)


def test_calls_that_ended_do_not_count(ray, gate_class, get):
    gate = gate_class.options(max_pending_calls=2).remote()
    for _ in range(4):
        waiting = gate.wait.remote()
        get(gate.open.remote())
        assert get(waiting)


def test_another_process_has_a_limit_of_its_own(ray, gate_class, get):
    gate = gate_class.options(max_pending_calls=2).remote()
    waiting = [gate.wait.remote()]

    @ray.remote
    def open(gate):
        return ray.get(gate.open.remote())

    get(open.remote(gate))
    assert get(waiting) == [True]


def test_limit_holds_before_the_actor_runs(ray, get):
    @ray.remote(num_cpus=0, max_pending_calls=1)
    class Never:
        def call(self):
            return "called"

    never = Never.options(resources={"missing": 1}).remote()
    never.call.remote()
    with pytest.raises(ray.exceptions.PendingCallsLimitExceeded):
        never.call.remote()


@pytest.mark.parametrize("limit", [-1, 0])
def test_no_limit(ray, gate_class, get, limit):
    gate = gate_class.options(max_pending_calls=limit).remote()
    waiting = gate.wait.remote()
    calls = [gate.open.remote() for _ in range(50)]
    get([waiting, *calls])


def test_limit_of_a_named_actor_holds_for_its_other_handles(ray, gate_class, get):
    gate = gate_class.options(max_pending_calls=1, name="limited").remote()
    get(gate.open.remote())
    found = ray.get_actor("limited")

    def limited():
        references = []
        try:
            for _ in range(1000):
                references.append(found.wait.remote())
        except ray.exceptions.PendingCallsLimitExceeded:
            return True
        return False

    until(limited, "a call is refused")
