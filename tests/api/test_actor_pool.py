"""util.ActorPool: work spread over a few actors."""

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=4), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def worker_class(ray):
    @ray.remote(num_cpus=0)
    class Worker:
        def double(self, value):
            return 2 * value

        def wait_for(self, path, value):
            import time

            while not path.exists():
                time.sleep(0.01)
            return value

        def fail(self, value):
            raise ValueError(f"refused {value}")

    return Worker


@pytest.fixture
def pool(ray, worker_class):
    return ray.util.ActorPool([worker_class.remote(), worker_class.remote()])


def test_map_keeps_the_order(pool):
    results = pool.map(lambda actor, value: actor.double.remote(value), range(10))
    assert list(results) == [2 * value for value in range(10)]


def test_map_unordered(pool):
    results = pool.map_unordered(lambda actor, value: actor.double.remote(value), range(10))
    assert sorted(results) == [2 * value for value in range(10)]


def test_map_of_nothing(pool):
    assert list(pool.map(lambda actor, value: actor.double.remote(value), [])) == []


def test_map_twice(pool):
    for _ in range(2):
        assert list(pool.map(lambda actor, value: actor.double.remote(value), [1, 2])) == [2, 4]


def test_submit_and_get_next(pool):
    assert not pool.has_next()
    for value in range(5):
        pool.submit(lambda actor, value: actor.double.remote(value), value)
    seen = []
    while pool.has_next():
        seen.append(pool.get_next(timeout=60))
    assert seen == [0, 2, 4, 6, 8]


def test_get_next_without_work(pool):
    with pytest.raises(StopIteration, match="No more results to get"):
        pool.get_next()
    with pytest.raises(StopIteration, match="No more results to get"):
        pool.get_next_unordered()


def test_unordered_gives_what_is_ready(pool, tmp_path):
    gate = tmp_path / "gate"
    pool.submit(lambda actor, value: actor.wait_for.remote(gate, value), "slow")
    pool.submit(lambda actor, value: actor.double.remote(value), 1)
    assert pool.get_next_unordered(timeout=60) == 2
    gate.touch()
    assert pool.get_next_unordered(timeout=60) == "slow"


def test_timeout(pool, tmp_path):
    gate = tmp_path / "gate"
    pool.submit(lambda actor, value: actor.wait_for.remote(gate, value), "slow")
    with pytest.raises(TimeoutError, match="Timed out waiting for result"):
        pool.get_next(timeout=0.05)
    with pytest.raises(TimeoutError, match="Timed out waiting for result"):
        pool.get_next_unordered(timeout=0.05)
    gate.touch()
    assert pool.get_next(timeout=60) == "slow"


def test_idle_actors(pool):
    assert pool.has_free()
    idle = [pool.pop_idle(), pool.pop_idle()]
    assert None not in idle
    assert pool.pop_idle() is None
    assert not pool.has_free()
    for actor in idle:
        pool.push(actor)
    assert pool.has_free()


def test_push_of_an_actor_that_is_there(pool):
    actor = pool.pop_idle()
    pool.push(actor)
    with pytest.raises(ValueError, match="already belongs to current ActorPool"):
        pool.push(actor)


def test_push_gives_waiting_work_an_actor(ray, worker_class):
    pool = ray.util.ActorPool([])
    pool.submit(lambda actor, value: actor.double.remote(value), 4)
    pool.push(worker_class.remote())
    assert pool.get_next(timeout=60) == 8


def test_error_of_the_work(pool):
    pool.submit(lambda actor, value: actor.fail.remote(value), 3)
    with pytest.raises(ValueError, match="refused 3"):
        pool.get_next(timeout=60)
    pool.submit(lambda actor, value: actor.double.remote(value), 3)
    assert pool.get_next(timeout=60) == 6
