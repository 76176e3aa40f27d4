"""util.queue.Queue: a queue that tasks and actors share."""

import asyncio

import pytest
from harness.waiting import GENEROUS_SECONDS

pytestmark = [pytest.mark.cluster(num_cpus=4), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def queues(ray):
    import importlib

    return importlib.import_module(f"{ray.__name__}.util.queue")


@pytest.fixture
def queue(queues):
    made = queues.Queue(maxsize=3)
    yield made
    made.shutdown(force=True)


def test_first_in_first_out(queue):
    for number in range(3):
        queue.put(number)
    assert [queue.get(timeout=GENEROUS_SECONDS) for _ in range(3)] == [0, 1, 2]


def test_size(queue):
    assert queue.empty() and not queue.full()
    assert len(queue) == queue.size() == queue.qsize() == 0
    queue.put(1)
    assert len(queue) == 1 and not queue.empty()
    queue.put_nowait_batch([2, 3])
    assert queue.full() and queue.qsize() == 3


def test_empty(queue, queues):
    with pytest.raises(queues.Empty):
        queue.get_nowait()
    with pytest.raises(queues.Empty):
        queue.get(block=False)
    with pytest.raises(queues.Empty):
        queue.get(timeout=0.05)


def test_full(queue, queues):
    queue.put_nowait_batch([1, 2, 3])
    with pytest.raises(queues.Full):
        queue.put_nowait(4)
    with pytest.raises(queues.Full):
        queue.put(4, block=False)
    with pytest.raises(queues.Full):
        queue.put(4, timeout=0.05)
    assert queue.qsize() == 3


def test_errors_are_those_of_the_standard_library(queues):
    import queue as standard

    assert issubclass(queues.Empty, standard.Empty)
    assert issubclass(queues.Full, standard.Full)


@pytest.mark.parametrize("call", ["get", "put"])
def test_negative_timeout(queue, call):
    arguments = (1,) if call == "put" else ()
    with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
        getattr(queue, call)(*arguments, timeout=-1)


def test_batches(queue, queues):
    queue.put_nowait_batch([1, 2])
    with pytest.raises(queues.Full):
        queue.put_nowait_batch([3, 4])
    assert queue.get_nowait_batch(2) == [1, 2]
    with pytest.raises(queues.Empty):
        queue.get_nowait_batch(1)


def test_batches_of_wrong_type(queue):
    with pytest.raises(TypeError):
        queue.put_nowait_batch(1)
    with pytest.raises(TypeError):
        queue.get_nowait_batch(1.5)
    with pytest.raises(ValueError):
        queue.get_nowait_batch(-1)


def test_unlimited(queues):
    queue = queues.Queue()
    for number in range(100):
        queue.put_nowait(number)
    assert queue.get_nowait_batch(100) == list(range(100))
    assert not queue.full()
    queue.shutdown(force=True)


def test_between_tasks(ray, queue, get):
    @ray.remote
    def produce(queue):
        for number in range(10):
            queue.put(number)

    @ray.remote
    def consume(queue):
        return [queue.get(timeout=GENEROUS_SECONDS) for _ in range(10)]

    result = consume.remote(queue)
    get(produce.remote(queue))
    assert get(result) == list(range(10))


def test_waiting_get_hears_of_a_later_put(ray, queue, get):
    @ray.remote
    def consume(queue):
        return queue.get(timeout=GENEROUS_SECONDS)

    waiting = consume.remote(queue)
    assert ray.wait([waiting], timeout=0.1)[0] == []
    queue.put("late")
    assert get(waiting) == "late"


def test_coroutines(queue, queues):
    async def use():
        await queue.put_async(1)
        await queue.put_async(2)
        assert await queue.get_async() == 1
        assert await queue.get_async(timeout=GENEROUS_SECONDS) == 2
        with pytest.raises(queues.Empty):
            await queue.get_async(block=False)
        with pytest.raises(queues.Empty):
            await queue.get_async(timeout=0.05)

    asyncio.run(use())


def test_values_of_every_kind(queue):
    for value in (None, {"a": [1]}, b"x" * 300_000):
        queue.put(value)
        assert queue.get(timeout=GENEROUS_SECONDS) == value


def test_options_of_its_actor(ray, queues):
    queue = queues.Queue(actor_options={"name": "the queue", "num_cpus": 0.5})
    queue.put(1)
    assert ray.get_actor("the queue") == queue.actor
    queue.shutdown(force=True)


def test_shutdown(ray, queues):
    queue = queues.Queue()
    queue.put(1)
    queue.shutdown()
    assert queue.actor is None
