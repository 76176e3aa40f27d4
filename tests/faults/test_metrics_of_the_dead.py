"""Metrics of processes that are killed, or do not answer."""

import importlib
import os
import signal
import time

import pytest
from harness.prometheus import scrape, seen

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


@pytest.fixture
def Counting(ray, engine):
    metrics = importlib.import_module(f"{engine.name}.util.metrics")

    @ray.remote
    class Counting:
        def __init__(self, name):
            self.calls = metrics.Counter(name)

        def count(self, value):
            self.calls.inc(value)
            return os.getpid()

    return Counting


def test_a_killed_process_has_counted(ray, get, Counting):
    actor = Counting.options(max_restarts=1, max_task_retries=-1).remote("killed")
    pid = get(actor.count.remote(3))
    seen(ray, "ray_killed_total", 3)
    os.kill(pid, signal.SIGKILL)
    seen(ray, "ray_killed_total", 3)
    assert get(actor.count.remote(4)) != pid
    page = seen(ray, "ray_killed_total", 7)
    assert sorted(it.value for it in page.find("ray_killed_total")) == [3, 4]


@pytest.mark.whipray_only
def test_what_was_counted_is_said_without_being_asked(ray, get, Counting):
    actor = Counting.remote("unasked")
    pid = get(actor.count.remote(1))
    get(actor.count.remote(2))
    # Nobody reads while the process lives: only its own word can be what is there afterwards. No
    # condition tells that it was said; a slow machine may need more than this.
    time.sleep(5)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ray.exceptions.RayActorError):
        get(actor.count.remote(1))
    seen(ray, "ray_unasked_total", 3)


@pytest.mark.whipray_only
def test_a_process_that_does_not_answer_holds_up_nobody(ray, get, Counting):
    actor = Counting.remote("stopped")
    pid = get(actor.count.remote(5))
    seen(ray, "ray_stopped_total", 5)
    os.kill(pid, signal.SIGSTOP)
    try:
        page = scrape(ray)
        assert page.total("ray_stopped_total") == 5
        assert page.total("whipray_metrics_silent_processes") == 1
    finally:
        os.kill(pid, signal.SIGCONT)
    get(actor.count.remote(1))
    seen(ray, "ray_stopped_total", 6)
