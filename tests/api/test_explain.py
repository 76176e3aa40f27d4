"""Why something waits: reason codes, since when, who decides; from the driver and from workers."""

import pytest
from harness.waiting import until

pytestmark = [
    pytest.mark.cluster(num_cpus=1),
    pytest.mark.usefixtures("cluster"),
    pytest.mark.whipray_only,
]


@pytest.fixture
def gate(tmp_path):
    """A file for which tasks wait: `held(path)` runs until it is there."""
    return tmp_path / "gate"


@pytest.fixture(scope="module")
def held(ray):
    @ray.remote
    def held(path):
        import os
        import time

        while not os.path.exists(path):
            time.sleep(0.01)
        return "through"

    return held


@pytest.fixture(scope="module")
def Waiter(ray):
    @ray.remote
    class Waiter:
        def wait_for(self, references):
            return ray.get(references[0])

        def ping(self):
            return 1

    return Waiter


def becomes(ray, subject, code):
    """Wait until the explanation begins with `code`, and return it."""

    def explained():
        found = ray.explain(subject)
        return found if found.code == code else None

    return until(explained, f"{subject} becomes {code}: {ray.explain(subject)}")


def test_a_task_that_runs_and_one_that_waits_for_its_turn(ray, get, held, gate):
    first, second = held.remote(gate), held.remote(gate)
    running = becomes(ray, first, "RUNNING")
    assert running.kind == "object"
    assert running.subject == first.hex()
    assert "worker with pid" in running.authority
    assert running.seconds >= 0
    waiting = becomes(ray, second, "WAITS_FOR_TURN")
    assert "held by held (pid" in waiting.text and "{CPU: 1}" in waiting.text
    assert waiting.authority.startswith("the node ")
    gate.touch()
    assert get([first, second]) == ["through"] * 2


def test_missing_arguments_are_named_with_what_they_wait_for(ray, get, held, gate):
    first = held.remote(gate)
    becomes(ray, first, "RUNNING")
    second = ray.remote(lambda text: text).remote(first)
    found = ray.explain(second)
    assert [step.code for step in found.steps] == ["WAITS_FOR_ARGUMENTS", "RUNNING"]
    assert first.hex() in found.text
    assert found.steps[1].depth == 1
    assert "the driver with pid" in found.authority
    gate.touch()
    assert get(second) == "through"


def test_resources_that_others_hold(ray, get, held, gate):
    first = held.remote(gate)
    becomes(ray, first, "RUNNING")
    other = held.options(num_cpus=0.5, name="other").remote(gate)
    found = becomes(ray, other, "WAITS_FOR_RESOURCES")
    assert "waits for 0.5 CPU (0 of 1 free); held by held (pid" in found.text
    gate.touch()
    assert get([first, other]) == ["through"] * 2


def test_what_can_never_run(ray, held, gate):
    reference = held.options(num_cpus=50).remote(gate)
    found = becomes(ray, reference, "INFEASIBLE")
    assert "asks for 50 CPU and no node has more than 1" in found.text
    ray.cancel(reference)


def test_values_and_errors_that_are_there(ray, get):
    assert ray.explain(ray.put(b"x")).code == "AVAILABLE"

    @ray.remote(max_retries=0)
    def fail():
        raise ValueError("no")

    reference = fail.remote()
    with pytest.raises(ValueError):
        get(reference)
    assert ray.explain(reference).code == "FAILED"


def test_an_actor_its_queue_and_a_call_that_is_blocked(ray, get, Waiter, held, gate):
    actor = Waiter.remote()
    get(actor.ping.remote())
    waited = held.remote(gate)
    blocked = actor.wait_for.remote([waited])
    found = becomes(ray, blocked, "BLOCKED_IN_GET")
    assert waited.hex() in found.text
    until(lambda: ray.explain(blocked).steps[-1].code == "RUNNING", "what it waits for runs")
    queued = [actor.ping.remote() for _ in range(3)]
    last = becomes(ray, queued[-1], "QUEUED_IN_WORKER")
    assert "1 calls run there (Waiter.wait_for), and 2 are before it" in last.text
    alive = ray.explain(actor)
    assert (alive.kind, alive.code) == ("actor", "ACTOR_ALIVE")
    assert "1 calls run, 1 are blocked in get, and 3 wait in its queue" in alive.text
    gate.touch()
    assert get(queued) == [1, 1, 1]


def test_an_actor_that_has_no_place_and_one_that_is_dead(ray, Waiter):
    homeless = Waiter.options(num_cpus=50).remote()
    call = homeless.ping.remote()
    found = until(
        lambda: next((it for it in [ray.explain(homeless)] if it.code == "INFEASIBLE"), None),
        "the actor is known to be infeasible",
    )
    assert "Waiter can never be placed: it asks for 50 CPU" in found.text
    pending = ray.explain(call)
    assert [step.code for step in pending.steps] == ["ACTOR_PENDING", "INFEASIBLE"]
    ray.kill(homeless)
    dead = until(
        lambda: next((it for it in [ray.explain(homeless)] if it.code == "ACTOR_DEAD"), None),
        "the actor is dead",
    )
    assert "killed by `ray.kill`" in dead.text


def test_workers_may_ask_as_well(ray, get, held, gate):
    waited = held.options(num_cpus=0).remote(gate)

    @ray.remote(num_cpus=0)
    def ask(references):
        import whipray

        return str(whipray.explain(references[0]))

    becomes(ray, waited, "RUNNING")
    assert "RUNNING" in get(ask.remote([waited]))
    gate.touch()
    get(waited)


def test_ids_and_text_are_as_good_as_references(ray, get, held, gate):
    waited = held.remote(gate)
    becomes(ray, waited.hex(), "RUNNING")
    task = ray.explain(waited.task_id())
    assert (task.kind, task.code) == ("task", "RUNNING")
    assert "RUNNING" in str(task) and "decided by" in str(task)
    gate.touch()
    get(waited)
    with pytest.raises(ValueError, match="not the hexadecimal text of an id"):
        ray.explain("seven")
    with pytest.raises(ValueError, match="not the id of an object"):
        ray.explain("0011")
    with pytest.raises(TypeError, match="takes an ObjectRef"):
        ray.explain(7)
    assert ray.explain("00" * 28).code == "NOT_KNOWN"
