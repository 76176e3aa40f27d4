"""Functions with `yield` as tasks: references that come one by one."""

import asyncio
import gc
import pickle
import threading
import time

import numpy
import pytest
from harness.waiting import GENEROUS_SECONDS, until

pytestmark = [pytest.mark.cluster(num_cpus=3), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def count_to(ray):
    @ray.remote
    def count_to(number):
        for index in range(number):
            yield index

    return count_to


@pytest.fixture(scope="module")
def noting(ray):
    @ray.remote
    def noting(path, number):
        """Yields numbers, and leaves a note of each before; another one when it is through."""
        for index in range(number):
            (path / str(index)).touch()
            yield index
        (path / "through").touch()

    return noting


@pytest.fixture(scope="module")
def gated(ray):
    @ray.remote
    def gated(path, number):
        """Yields each number once there is a file of that name."""
        for index in range(number):
            while not (path / str(index)).exists():
                time.sleep(0.01)
            yield index

    return gated


def made(path):
    return sum(1 for note in path.iterdir() if note.name.isdigit())


def test_references_in_order(ray, get, count_to):
    generator = count_to.remote(5)
    assert isinstance(generator, ray.ObjectRefGenerator)
    references = list(generator)
    assert all(isinstance(reference, ray.ObjectRef) for reference in references)
    assert get(references) == [0, 1, 2, 3, 4]


def test_no_items(count_to):
    assert list(count_to.remote(0)) == []


def test_many_items(get, count_to):
    assert get(list(count_to.remote(5000))) == list(range(5000))


def test_items_come_before_the_end(ray, get, gated, tmp_path):
    generator = gated.remote(tmp_path, 2)
    assert ray.wait([generator], timeout=0.1) == ([], [generator])
    assert not generator.next_ready()
    (tmp_path / "0").touch()
    assert get(next(generator)) == 0
    assert not generator.is_finished()
    (tmp_path / "1").touch()
    assert get(next(generator)) == 1
    with pytest.raises(StopIteration):
        next(generator)
    assert generator.is_finished()


def test_ids_follow_from_the_task(count_to):
    generator = count_to.remote(2)
    first, second = generator
    whole = generator.completed()
    assert whole.hex()[-8:] == "01000000"
    assert first.hex() == whole.hex()[:-8] + "02000000"
    assert second.hex() == whole.hex()[:-8] + "03000000"


def test_the_value_that_a_generator_returns_is_not_among_them(ray, get):
    @ray.remote
    def returns():
        yield 1
        return 7

    generator = returns.remote()
    assert get(list(generator)) == [1]
    assert get(generator.completed()) is None


def test_looking_ahead(get, count_to):
    generator = count_to.remote(1)
    assert get(generator.completed()) is None
    until(generator.next_ready, "the item is there")
    assert not generator.is_finished()
    next(generator)
    until(generator.is_finished, "the end is known")
    assert not generator.next_ready()


def test_a_bounded_wait_for_the_next(get, gated, tmp_path):
    generator = gated.remote(tmp_path, 1)
    assert generator._next_sync(timeout_s=0.05).is_nil()
    (tmp_path / "0").touch()
    assert get(generator._next_sync(timeout_s=GENEROUS_SECONDS)) == 0
    with pytest.raises(StopIteration):
        generator._next_sync(timeout_s=GENEROUS_SECONDS)


def test_wait_for_generators_and_references(ray, gated, count_to, tmp_path):
    late = gated.remote(tmp_path, 1)
    early = count_to.remote(1)
    reference = ray.put(1)
    assert ray.wait([late, early, reference], num_returns=2, timeout=GENEROUS_SECONDS) == (
        [early, reference],
        [late],
    )
    next(early)
    # One that has ended counts as ready: there is nothing to wait for.
    ready, _ = ray.wait([early], timeout=GENEROUS_SECONDS)
    assert ready == [early]
    (tmp_path / "0").touch()
    assert ray.wait([late], timeout=GENEROUS_SECONDS) == ([late], [])
    assert late.next_ready(), "a wait takes nothing"


def test_wait_wants_different_generators_in_a_list(ray, count_to):
    generator = count_to.remote(1)
    with pytest.raises(ValueError, match="unique"):
        ray.wait([generator, generator])
    with pytest.raises(TypeError, match="expected a list"):
        ray.wait(generator)


def test_get_of_a_generator(ray, count_to):
    generator = count_to.remote(1)
    assert ray.get(generator) is generator
    with pytest.raises(TypeError, match="which is not an"):
        ray.get([generator])


def test_generators_do_not_travel(ray, get, count_to):
    generator = count_to.remote(1)
    with pytest.raises(TypeError, match="cannot return or pass a generator"):
        pickle.dumps(generator)
    with pytest.raises(TypeError, match="Could not serialize the put value"):
        ray.put(generator)
    with pytest.raises(TypeError, match="Could not serialize the argument"):
        count_to.remote([generator])

    @ray.remote
    def returns_one():
        return count_to.remote(1)

    with pytest.raises(TypeError, match="cannot return or pass a generator"):
        get(returns_one.remote())


def test_methods_of_plain_generators_that_are_not_supported(count_to):
    generator = count_to.remote(1)
    for call in (lambda: generator.send(1), lambda: generator.throw(KeyError()), generator.close):
        with pytest.raises(NotImplementedError, match="is not supported"):
            call()
    for call in (lambda: generator.asend(1), lambda: generator.athrow(KeyError), generator.aclose):
        with pytest.raises(NotImplementedError, match="is not supported"):
            asyncio.run(call())


def test_async_iteration(gated, tmp_path):
    async def collect():
        generator = gated.remote(tmp_path, 3)
        values = []
        (tmp_path / "0").touch()
        async for reference in generator:
            values.append(await reference)
            (tmp_path / str(len(values))).touch()
        assert await generator.completed() is None
        with pytest.raises(StopAsyncIteration):
            await generator.__anext__()
        return values

    assert asyncio.run(collect()) == [0, 1, 2]


def test_async_iteration_over_what_is_there(count_to):
    async def collect():
        return [await reference async for reference in count_to.remote(500)]

    assert asyncio.run(collect()) == list(range(500))


def test_many_threads_take_each_item_once(get, count_to):
    generator = count_to.remote(500)
    taken = [[] for _ in range(4)]

    def take(values):
        for reference in generator:
            values.append(get(reference))

    threads = [threading.Thread(target=take, args=(values,)) for values in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GENEROUS_SECONDS)
    assert sorted(sum(taken, [])) == list(range(500))
    assert all(values == sorted(values) for values in taken)


def test_large_items(ray, get):
    @ray.remote
    def blocks(number):
        for index in range(number):
            yield numpy.full(1_000_000, index, dtype="u1")

    for index, reference in enumerate(blocks.remote(5)):
        array = get(reference)
        assert array[0] == index
        assert not array.flags.writeable


def test_items_with_references(ray, get):
    @ray.remote
    def puts(number):
        for index in range(number):
            yield [ray.put(index)]

    outer = list(puts.remote(10))
    gc.collect()
    inner = [get(reference)[0] for reference in outer]
    del outer
    assert get(inner) == list(range(10))


def test_items_of_another_stream(ray, get, count_to):
    @ray.remote
    def passes_on(number):
        for reference in count_to.remote(number):
            yield reference

    assert [get(get(reference)) for reference in passes_on.remote(3)] == [0, 1, 2]


def test_items_as_arguments(ray, get, count_to):
    double = ray.remote(lambda number: 2 * number)
    assert get([double.remote(reference) for reference in count_to.remote(5)]) == [0, 2, 4, 6, 8]


def test_a_bound_pauses_the_task(ray, get, noting, tmp_path):
    generator = noting.options(_generator_backpressure_num_objects=2).remote(tmp_path, 8)
    for taken in range(8):
        most = min(taken + 2, 8)
        until(lambda: made(tmp_path) == most, f"{most} items are made")
        # A moment in which one too many would be made.
        assert generator._next_sync(timeout_s=GENEROUS_SECONDS) is not None
        assert made(tmp_path) <= most + 1
    until((tmp_path / "through").exists, "the generator ends")


def test_a_bound_of_one(ray, get, noting, tmp_path):
    generator = noting.options(_generator_backpressure_num_objects=1).remote(tmp_path, 3)
    ray.wait([generator], timeout=GENEROUS_SECONDS)
    # Other tasks come and go meanwhile: time enough for one too many.
    get([ray.remote(lambda: None).remote() for _ in range(20)])
    assert made(tmp_path) == 1, "to wait takes nothing"
    assert get(list(generator)) == [0, 1, 2]


@pytest.mark.whipray_only
def test_a_task_that_pauses_lends_its_cpu(ray, get, noting, tmp_path):
    everything = noting.options(_generator_backpressure_num_objects=1, num_cpus=3)
    generator = everything.remote(tmp_path, 3)
    double = ray.remote(num_cpus=3)(lambda number: 2 * number)
    assert [get(double.remote(reference)) for reference in generator] == [0, 2, 4]


def test_a_dropped_generator_lets_the_task_end(ray, noting, tmp_path):
    generator = noting.options(_generator_backpressure_num_objects=1).remote(tmp_path, 5)
    next(generator)
    del generator
    gc.collect()
    until((tmp_path / "through").exists, "the generator ends")
    assert made(tmp_path) == 5


def test_a_generator_that_nobody_keeps(ray, noting, tmp_path):
    noting.remote(tmp_path, 3)
    until((tmp_path / "through").exists, "the generator ends")


def test_number_of_results_instead(get, count_to):
    one, two = count_to.options(num_returns=2).remote(2)
    assert get([one, two]) == [0, 1]
    assert get(count_to.options(num_returns=1).remote(2)) == 0
    assert count_to.options(num_returns=0).remote(2) is None


def test_several_items_for_each_yield(ray, get):
    @ray.remote(_num_objects_per_yield=2)
    def pairs():
        yield 1, 2
        yield [3, 4]

    assert get(list(pairs.remote())) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("item", "text"), [(3, "must yield a tuple or list"), ((3, 4, 5), "yielded 3 objects")]
)
def test_wrong_number_of_items_for_a_yield(ray, get, item, text):
    @ray.remote(_num_objects_per_yield=2)
    def pairs():
        yield 1, 2
        yield item

    *good, bad = pairs.remote()
    assert get(good) == [1, 2]
    with pytest.raises(ValueError, match=text):
        get(bad)


@pytest.mark.parametrize("num_returns", ["streaming", "dynamic"])
def test_functions_without_yield(ray, num_returns):
    message = f"num_returns='{num_returns}' can only be used with generator functions"
    with pytest.raises(ValueError, match=message):
        ray.remote(num_returns=num_returns)(lambda: 1)
    with pytest.raises(ValueError, match=message):
        ray.remote(lambda: 1).options(num_returns=num_returns).remote()


def test_a_bound_of_nothing(ray, count_to):
    with pytest.raises(ValueError, match="_generator_backpressure_num_objects=0 is not allowed"):
        count_to.options(_generator_backpressure_num_objects=0)
    assert len(list(count_to.options(_generator_backpressure_num_objects=-1).remote(3))) == 3


@pytest.mark.whipray_only
def test_items_of_any_iterable(ray, get):
    @ray.remote
    def delegates(number):
        yield from range(number)
        yield from [[]] * number

    assert get(list(delegates.remote(2))) == [0, 1, [], []]
