"""Methods with `yield`: of plain actors, of those with threads, and of those with coroutines."""

import asyncio
import os
import time

import pytest
from harness.waiting import GENEROUS_SECONDS, until

pytestmark = [pytest.mark.cluster(num_cpus=4), pytest.mark.usefixtures("cluster")]


def drain(ray, generator):
    """All values of a generator; an exception stands for what it raises."""
    values = []
    for reference in generator:
        try:
            values.append(ray.get(reference, timeout=GENEROUS_SECONDS))
        except Exception as error:
            values.append(error)
    return values


@pytest.fixture(scope="module")
def plain_class(ray):
    @ray.remote(num_cpus=0)
    class Plain:
        def __init__(self):
            self.made = 0

        def count_to(self, number):
            for index in range(number):
                self.made += 1
                yield index

        @ray.method(num_returns="streaming")
        def declared(self):
            yield "declared"

        @ray.method(num_returns="dynamic")
        def dynamic(self, number):
            for index in range(number):
                yield index

        @ray.method(num_returns=2)
        def two(self):
            yield 1
            yield 2

        def how_many(self):
            return self.made

        def fails(self):
            yield 1
            raise KeyError("method")

        def endless(self):
            while True:
                yield os.getpid()
                time.sleep(0.01)

        def dies_at(self, index, path):
            for number in range(index):
                yield number
            while not path.exists():
                time.sleep(0.01)
            os._exit(1)

    return Plain


@pytest.fixture(scope="module")
def coroutine_class(ray):
    @ray.remote(num_cpus=0)
    class Coroutines:
        def __init__(self):
            self.closed = False
            self.made = 0
            self.event = asyncio.Event()

        async def count_to(self, number):
            for index in range(number):
                self.made += 1
                yield index

        def plain(self, number):
            for index in range(number):
                self.made += 1
                yield index

        async def wait(self):
            yield "waits"
            await self.event.wait()
            yield "met"

        async def meet(self):
            self.event.set()

        async def fails(self):
            yield 1
            raise KeyError("coroutine")

        async def endless(self):
            try:
                while True:
                    yield 1
                    await asyncio.sleep(0.01)
            finally:
                self.closed = True

        async def was_closed(self):
            return self.closed

        async def how_many(self):
            return self.made

        async def consume(self, number):
            @ray.remote
            def count_to(number):
                for index in range(number):
                    yield index

            return [await reference async for reference in count_to.remote(number)]

    return Coroutines


def test_method_with_yield(ray, plain_class):
    actor = plain_class.remote()
    generator = actor.count_to.remote(3)
    assert isinstance(generator, ray.ObjectRefGenerator)
    assert drain(ray, generator) == [0, 1, 2]
    assert drain(ray, actor.declared.remote()) == ["declared"]


def test_other_kinds_of_results(ray, get, plain_class):
    actor = plain_class.remote()
    assert get(list(get(actor.dynamic.remote(3)))) == [0, 1, 2]
    assert get(actor.two.remote()) == [1, 2]
    assert get(actor.count_to.options(num_returns=2).remote(2)) == [0, 1]
    assert get(actor.count_to.options(num_returns=1).remote(2)) == 0
    assert get(list(get(actor.count_to.options(num_returns="dynamic").remote(2)))) == [0, 1]


def test_methods_without_yield(ray, plain_class):
    with pytest.raises(ValueError, match="can only be used with generator functions"):
        plain_class.remote().how_many.options(num_returns="streaming").remote()
    with pytest.raises(ValueError, match="can only be used with generator functions"):

        @ray.remote
        class Wrong:
            @ray.method(num_returns="streaming")
            def value(self):
                return 1

        Wrong.remote()


def test_a_stream_is_one_call_in_the_order_of_calls(ray, get, plain_class):
    actor = plain_class.remote()
    generators = [actor.count_to.remote(100) for _ in range(3)]
    assert get(actor.how_many.remote()) == 300
    assert [len(drain(ray, generator)) for generator in generators] == [100] * 3


def test_exception_of_a_method(ray, plain_class):
    first, error = drain(ray, plain_class.remote().fails.remote())
    assert first == 1
    assert isinstance(error, KeyError)


def test_cancel_of_a_method(ray, get, plain_class):
    actor = plain_class.remote()
    generator = actor.endless.remote()
    next(generator)
    ray.cancel(generator)
    assert isinstance(drain(ray, generator)[-1], ray.exceptions.TaskCancelledError)
    assert get(actor.how_many.remote()) == 0, "the actor goes on"


def test_kill_in_the_middle(ray, get, plain_class):
    actor = plain_class.remote()
    generator = actor.endless.remote()
    next(generator)
    ray.kill(actor)
    error = drain(ray, generator)[-1]
    assert isinstance(error, ray.exceptions.ActorDiedError)
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(generator.completed())
    (error,) = drain(ray, actor.count_to.remote(1))
    assert isinstance(error, ray.exceptions.ActorDiedError), "nor does a new stream begin"


def test_a_restart_in_the_middle(ray, get, plain_class, tmp_path):
    gate = tmp_path / "gate"
    actor = plain_class.options(max_restarts=1, max_task_retries=0).remote()
    generator = actor.dies_at.remote(2, gate)
    assert get([next(generator), next(generator)]) == [0, 1]
    gate.touch()
    (error,) = drain(ray, generator)
    assert isinstance(error, ray.exceptions.ActorUnavailableError)


def test_a_restart_with_a_retry(ray, tmp_path):
    @ray.remote(num_cpus=0, max_restarts=1, max_task_retries=1)
    class Dies:
        def count_to(self, number, path):
            for index in range(number):
                if index == 2 and not (path / "died").exists():
                    (path / "died").touch()
                    os._exit(1)
                yield index

    actor = Dies.remote()
    assert drain(ray, actor.count_to.remote(4, tmp_path)) == [0, 1, 2, 3]


def test_a_bound_for_methods(ray, get, plain_class):
    actor = plain_class.options(max_concurrency=2).remote()
    generator = actor.count_to.options(_generator_backpressure_num_objects=2).remote(5)
    until(lambda: get(actor.how_many.remote()) == 2, "two items are made")
    next(generator)
    until(lambda: get(actor.how_many.remote()) == 3, "a third one is made")
    assert len(list(generator)) == 4


def test_a_bound_for_all_methods_of_an_actor(ray, get, plain_class):
    bounded = plain_class.options(
        max_concurrency=2, _actor_generator_backpressure_num_objects=1
    ).remote()
    generator = bounded.count_to.remote(3)
    until(lambda: get(bounded.how_many.remote()) == 1, "one item is made")
    assert len(list(generator)) == 3


def test_streams_of_threads_beside_each_other(ray, plain_class):
    actor = plain_class.options(max_concurrency=3).remote()
    endless = [actor.endless.remote() for _ in range(2)]
    for generator in endless:
        next(generator)
    assert drain(ray, actor.count_to.remote(3)) == [0, 1, 2]
    for generator in endless:
        ray.cancel(generator)
        assert isinstance(drain(ray, generator)[-1], ray.exceptions.TaskCancelledError)


def test_asynchronous_generator(ray, coroutine_class):
    actor = coroutine_class.remote()
    assert drain(ray, actor.count_to.remote(300)) == list(range(300))
    assert drain(ray, actor.plain.remote(300)) == list(range(300))


def test_asynchronous_generators_beside_each_other(ray, get, coroutine_class):
    actor = coroutine_class.remote()
    waiting = [actor.wait.remote() for _ in range(10)]
    assert get([next(generator) for generator in waiting]) == ["waits"] * 10
    get(actor.meet.remote())
    assert [drain(ray, generator) for generator in waiting] == [["met"]] * 10


def test_exception_of_an_asynchronous_generator(ray, coroutine_class):
    first, error = drain(ray, coroutine_class.remote().fails.remote())
    assert first == 1
    assert isinstance(error, KeyError)


def test_cancel_of_an_asynchronous_generator(ray, get, coroutine_class):
    actor = coroutine_class.remote()
    generator = actor.endless.remote()
    next(generator)
    ray.cancel(generator)
    assert isinstance(drain(ray, generator)[-1], ray.exceptions.TaskCancelledError)
    assert get(actor.was_closed.remote())


@pytest.mark.parametrize(
    "method",
    ["count_to", pytest.param("plain", marks=pytest.mark.whipray_only)],
)
def test_a_bound_holds_up_no_other_call(ray, get, coroutine_class, method):
    actor = coroutine_class.remote()
    bounded = getattr(actor, method).options(_generator_backpressure_num_objects=2)
    generator = bounded.remote(6)
    until(lambda: get(actor.how_many.remote()) == 2, "two items are made")
    next(generator)
    until(lambda: get(actor.how_many.remote()) == 3, "a third one is made")
    assert len(list(generator)) == 5
    assert get(actor.how_many.remote()) == 6


def test_a_dropped_generator_of_coroutines(ray, get, coroutine_class):
    actor = coroutine_class.remote()
    generator = actor.count_to.options(_generator_backpressure_num_objects=1).remote(20)
    next(generator)
    del generator
    until(lambda: get(actor.how_many.remote()) == 20, "the generator ends")


def test_a_busy_generator_lets_others_have_the_loop(ray, get, coroutine_class):
    actor = coroutine_class.remote()
    generator = actor.count_to.remote(20_000)
    assert get(actor.was_closed.remote()) is False
    assert sum(1 for _ in generator) == 20_000


def test_consumed_by_a_coroutine(get, coroutine_class):
    assert get(coroutine_class.remote().consume.remote(50)) == list(range(50))
