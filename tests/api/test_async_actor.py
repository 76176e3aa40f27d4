"""Actors whose methods are coroutines."""

import asyncio
import threading
import time

import pytest
from harness.waiting import GENEROUS_SECONDS, until

pytestmark = [pytest.mark.cluster(num_cpus=4), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def meeting_class(ray):
    @ray.remote(num_cpus=0)
    class Meeting:
        def __init__(self):
            self.event = asyncio.Event()
            self.cancelled = False

        async def wait(self):
            await self.event.wait()
            return "met"

        async def meet(self):
            self.event.set()

        async def fail(self):
            await asyncio.sleep(0)
            raise KeyError("from a coroutine")

        def plain(self):
            return threading.current_thread().name

        async def coroutine(self):
            return threading.current_thread().name

        async def value(self, items):
            return await items[0]

        async def many(self, items):
            return sum(await asyncio.gather(*items))

        async def endless(self):
            try:
                while True:
                    await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                self.cancelled = True
                raise

        async def was_cancelled(self):
            return self.cancelled

    return Meeting


def test_calls_run_beside_each_other(meeting_class, get):
    actor = meeting_class.remote()
    waiting = [actor.wait.remote() for _ in range(20)]
    actor.meet.remote()
    assert get(waiting) == ["met"] * 20


def test_error(meeting_class, get):
    with pytest.raises(KeyError, match="from a coroutine"):
        get(meeting_class.remote().fail.remote())


def test_plain_methods_run_in_the_loops_thread(meeting_class, get):
    actor = meeting_class.remote()
    assert get(actor.plain.remote()) == get(actor.coroutine.remote())


def test_awaits_references(ray, meeting_class, get):
    actor = meeting_class.remote()
    assert get(actor.value.remote([ray.put("inner")])) == "inner"
    late = ray.remote(lambda: "late").remote()
    assert get(actor.value.remote([late])) == "late"
    assert get(actor.many.remote([ray.put(number) for number in range(10)])) == 45


def test_awaits_the_error_of_a_task(ray, meeting_class, get):
    @ray.remote
    def fail():
        raise ZeroDivisionError("awaited")

    with pytest.raises(ZeroDivisionError, match="awaited"):
        get(meeting_class.remote().value.remote([fail.remote()]))


def test_awaits_another_actor(ray, meeting_class, get):
    @ray.remote(num_cpus=0)
    class Caller:
        def __init__(self, other):
            self.other = other

        async def call(self):
            waiting = self.other.wait.remote()
            await self.other.meet.remote()
            return await waiting

    assert get(Caller.remote(meeting_class.remote()).call.remote()) == "met"


def test_max_concurrency_limits_the_calls(ray, get):
    @ray.remote(max_concurrency=2)
    class Narrow:
        def __init__(self):
            self.inside = 0
            self.most = 0

        async def work(self):
            self.inside += 1
            self.most = max(self.most, self.inside)
            for _ in range(5):
                await asyncio.sleep(0.005)
            self.inside -= 1

        async def peak(self):
            return self.most

    actor = Narrow.remote()
    get([actor.work.remote() for _ in range(10)])
    assert get(actor.peak.remote()) == 2


def test_cancel_raises_in_the_coroutine(ray, meeting_class, get):
    actor = meeting_class.remote()
    endless = actor.endless.remote()
    get(actor.was_cancelled.remote())
    ray.cancel(endless)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        get(endless)
    until(lambda: get(actor.was_cancelled.remote()), "the coroutine hears of it")


def test_cancel_leaves_other_calls_alone(ray, meeting_class, get):
    actor = meeting_class.remote()
    waiting, endless = actor.wait.remote(), actor.endless.remote()
    get(actor.was_cancelled.remote())
    ray.cancel(endless)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        get(endless)
    actor.meet.remote()
    assert get(waiting) == "met"


def test_exit_actor_in_a_coroutine(ray, get):
    @ray.remote
    class Leaving:
        async def leave(self):
            ray.actor.exit_actor()

    actor = Leaving.remote()
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(actor.leave.remote())


def test_blocking_get_is_possible_in_a_coroutine(ray, get):
    @ray.remote
    class Blocking:
        async def read(self):
            return ray.get(ray.put(3))

    assert get(Blocking.remote().read.remote()) == 3


def test_results_of_all_sizes(ray, get):
    @ray.remote
    class Maker:
        async def make(self, size):
            await asyncio.sleep(0)
            return b"z" * size

    actor = Maker.remote()
    sizes = [0, 1000, 99_000, 200_000, 2_000_000]
    assert [len(data) for data in get([actor.make.remote(size) for size in sizes])] == sizes


def test_threaded_actor_runs_calls_beside_each_other(ray, get):
    @ray.remote(max_concurrency=3)
    class Barrier:
        def __init__(self):
            self.barrier = threading.Barrier(3)

        def meet(self):
            self.barrier.wait(GENEROUS_SECONDS)
            return "met"

    actor = Barrier.remote()
    assert get([actor.meet.remote() for _ in range(3)]) == ["met"] * 3


def test_threaded_actor_limits_its_threads(ray, get):
    @ray.remote(max_concurrency=2)
    class Narrow:
        def __init__(self):
            self.lock = threading.Lock()
            self.inside = self.most = 0

        def work(self):
            with self.lock:
                self.inside += 1
                self.most = max(self.most, self.inside)
            time.sleep(0.02)
            with self.lock:
                self.inside -= 1

        def peak(self):
            return self.most

    actor = Narrow.remote()
    get([actor.work.remote() for _ in range(8)])
    assert get(actor.peak.remote()) == 2


def test_threads_call_the_engine_at_once(ray, get):
    @ray.remote(max_concurrency=4)
    class Fan:
        def run(self, number):
            return ray.get(ray.remote(num_cpus=0.1)(lambda: number * 2).remote())

    actor = Fan.remote()
    assert get([actor.run.remote(number) for number in range(8)]) == [n * 2 for n in range(8)]


def test_concurrency_groups(ray, get, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote(concurrency_groups={"slow": 1, "quick": 1})
    class Grouped:
        @ray.method(concurrency_group="slow")
        def slow(self):
            while not gate.exists():
                time.sleep(0.01)
            return "slow"

        @ray.method(concurrency_group="quick")
        def quick(self):
            return "quick"

    actor = Grouped.remote()
    slow = actor.slow.remote()
    assert get(actor.quick.remote()) == "quick"
    gate.touch()
    assert get(slow) == "slow"


def test_constructor_runs_inside_of_the_event_loop(ray, get):
    """There was no running loop in it, and what asks for one failed."""

    @ray.remote
    class Background:
        def __init__(self):
            self.loop = asyncio.get_running_loop()
            self.task = self.loop.create_task(self.count())
            self.started = 0

        async def count(self):
            self.started += 1

        async def state(self):
            await self.task
            return self.started, self.loop is asyncio.get_running_loop()

    assert get(Background.remote().state.remote()) == (1, True)
