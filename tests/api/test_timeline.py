"""`ray.timeline`: what has run where and when."""

import json
import time

import pytest
from harness.waiting import until

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def ran(ray, get):
    """The ids of a task, of a call of an actor and of a task that raised; and when they ran."""

    @ray.remote
    def traced():
        return 1

    @ray.remote
    def traced_failure():
        raise ValueError("no")

    @ray.remote
    class Traced:
        def method(self):
            return 2

    actor = Traced.remote()
    began = time.time()
    references = [traced.remote(), actor.method.remote(), traced_failure.remote()]
    ray.wait(references, num_returns=3, timeout=60)
    return [reference.task_id().hex() for reference in references], began, time.time()


def events_of(ray, tasks):
    events = {event["args"].get("task_id"): event for event in ray.timeline()}
    return [events[task] for task in tasks] if set(tasks) <= set(events) else None


def test_every_task_has_its_event(ray, ran):
    tasks, began, ended = ran
    events = until(lambda: events_of(ray, tasks), "the events have been collected")
    names = ["task::traced", "task::Traced.method", "task::traced_failure"]
    assert [event["cat"] for event in events] == names
    for event in events:
        assert event["ph"] == "X" and event["dur"] >= 0
        assert began * 1e6 - 1e5 <= event["ts"] <= ended * 1e6 + 1e5
        assert event["tid"].startswith("worker:")
    assert len({event["pid"] for event in events}) == 1


def test_constructors_have_theirs(ray, get):
    """How long an actor took to load what it has was not told."""

    @ray.remote
    class Loading:
        def __init__(self, fails):
            time.sleep(0.02)
            if fails:
                raise ValueError("no")

        def ready(self):
            return True

    get(Loading.remote(False).ready.remote())
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(Loading.remote(True).ready.remote())
    events = until(
        lambda: [e for e in ray.timeline() if e["name"] == "Loading.__init__"][:2], "both are there"
    )
    assert [event["cname"] for event in events] == ["generic_work", "terrible"]
    assert all(event["dur"] >= 20_000 for event in events)


def test_a_file_takes_them(ray, ran, tmp_path):
    tasks, _, _ = ran
    until(lambda: events_of(ray, tasks), "the events have been collected")
    path = tmp_path / "timeline.json"
    assert ray.timeline(filename=str(path)) is None
    assert set(tasks) <= {event["args"].get("task_id") for event in json.loads(path.read_text())}


def test_without_a_cluster(ray, stopped):
    with pytest.raises(RuntimeError, match="has not been started"):
        ray.timeline()
