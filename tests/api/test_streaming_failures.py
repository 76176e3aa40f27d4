"""Streams that do not end well: exceptions, crashes, cancels, and what of memory comes back."""

import gc
import os
import time

import numpy
import pytest
from harness.waiting import GENEROUS_SECONDS, until

CAPACITY = 100 * 1024 * 1024
BLOCK = 10 * 1024 * 1024

pytestmark = [
    pytest.mark.cluster(num_cpus=3, object_store_memory=CAPACITY),
    pytest.mark.usefixtures("cluster"),
]


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
def dying(ray):
    @ray.remote
    def dying(path, number, at, value=None):
        """Yields numbers, or what `value` makes of them; its process dies once, before one."""
        for index in range(number):
            if index == at and not (path / "died").exists():
                (path / "died").touch()
                while not (path / "received").exists():
                    time.sleep(0.01)
                os._exit(1)
            yield index if value is None else value(index)

    return dying


@pytest.fixture(scope="module")
def endless(ray):
    @ray.remote
    def endless(path):
        number = 0
        try:
            while True:
                yield number
                number += 1
                time.sleep(0.01)
        finally:
            (path / "closed").touch()

    return endless


def test_an_exception_is_the_last_item(ray, get):
    @ray.remote
    def fails(number):
        for index in range(number):
            yield index
        raise KeyError("in the middle")

    for number in (0, 2):
        generator = fails.remote(number)
        *values, error = drain(ray, generator)
        assert values == list(range(number))
        assert isinstance(error, KeyError)
        assert isinstance(error, ray.exceptions.RayTaskError)
        assert get(generator.completed()) is None
        assert generator.is_finished()


def test_an_item_that_cannot_be_pickled(ray):
    @ray.remote
    def locks():
        import threading

        yield 1
        yield threading.Lock()
        yield 3

    first, error = drain(ray, locks.remote())
    assert first == 1
    assert isinstance(error, TypeError)


def test_an_argument_that_failed(ray, get):
    @ray.remote
    def fails():
        raise KeyError("argument")

    @ray.remote
    def echo(value):
        yield value

    generator = echo.remote(fails.remote())
    (error,) = drain(ray, generator)
    assert isinstance(error, KeyError)
    with pytest.raises(KeyError):
        get(generator.completed())


def test_a_retried_exception_goes_on_behind_what_came(ray, tmp_path):
    @ray.remote(max_retries=1, retry_exceptions=True)
    def fails_once(path):
        attempt = len(list(path.iterdir()))
        (path / str(attempt)).touch()
        for index in range(4):
            if attempt == 0 and index == 2:
                raise KeyError("once")
            yield attempt, index

    assert drain(ray, fails_once.remote(tmp_path)) == [(0, 0), (0, 1), (1, 2), (1, 3)]


def test_an_exception_beyond_the_retries(ray, get):
    @ray.remote(max_retries=1, retry_exceptions=True)
    def fails():
        yield 1
        raise KeyError("always")

    generator = fails.remote()
    first, error = drain(ray, generator)
    assert first == 1
    assert isinstance(error, KeyError)
    with pytest.raises(KeyError):
        get(generator.completed())


def test_a_crash_is_retried_without_repeating_items(ray, get, dying, tmp_path):
    generator = dying.options(max_retries=1).remote(tmp_path, 5, 3)
    references = [next(generator) for _ in range(3)]
    (tmp_path / "received").touch()
    references += list(generator)
    assert get(references) == [0, 1, 2, 3, 4]
    assert len({reference.hex() for reference in references}) == 5


def test_a_crash_with_large_items(ray, get, dying, tmp_path):
    block = lambda index: numpy.full(1_000_000, index, dtype="u1")  # noqa: E731
    generator = dying.options(max_retries=1).remote(tmp_path, 4, 2, block)
    references = [next(generator)]
    (tmp_path / "received").touch()
    references += list(generator)
    assert [array[0] for array in get(references)] == [0, 1, 2, 3]


def test_a_crash_without_retries(ray, get, dying, tmp_path):
    generator = dying.options(max_retries=0).remote(tmp_path, 5, 2)
    assert get([next(generator), next(generator)]) == [0, 1]
    (tmp_path / "received").touch()
    [error] = drain(ray, generator)
    assert isinstance(error, ray.exceptions.WorkerCrashedError)
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        get(generator.completed())


def test_a_generator_that_is_given_up_closes_in_peace(ray, tmp_path):
    """It was interrupted once more while it closed where the cancel was seen between items."""

    @ray.remote
    def busy(path):
        try:
            while True:
                yield 1
        finally:
            (path / "closed").touch()

    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        generator = busy.remote(folder)
        next(generator)
        ray.cancel(generator)
        *_, error = drain(ray, generator)
        assert isinstance(error, ray.exceptions.TaskCancelledError)
        until((folder / "closed").exists, "the generator is closed")


@pytest.mark.parametrize("force", [False, True])
def test_cancel(ray, get, endless, force, tmp_path):
    generator = endless.remote(tmp_path)
    next(generator)
    ray.cancel(generator, force=force)
    *values, error = drain(ray, generator)
    assert all(isinstance(value, int) for value in values)
    assert isinstance(error, ray.exceptions.TaskCancelledError)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        get(generator.completed())
    if not force:
        until((tmp_path / "closed").exists, "the generator is closed")


def test_cancel_by_an_item(ray, endless, tmp_path):
    generator = endless.remote(tmp_path)
    ray.cancel(next(generator))
    assert isinstance(drain(ray, generator)[-1], ray.exceptions.TaskCancelledError)


def test_cancel_of_a_task_that_pauses(ray, endless, tmp_path):
    generator = endless.options(_generator_backpressure_num_objects=1).remote(tmp_path)
    ray.wait([generator], timeout=GENEROUS_SECONDS)
    ray.cancel(generator)
    until((tmp_path / "closed").exists, "the generator is closed")
    assert isinstance(drain(ray, generator)[-1], ray.exceptions.TaskCancelledError)


def test_memory_of_what_was_taken_comes_back(ray, get):
    @ray.remote
    def blocks(number):
        for index in range(number):
            yield numpy.full(BLOCK, index, dtype="u1")

    generator = blocks.options(_generator_backpressure_num_objects=2).remote(40)
    for index, reference in enumerate(generator):
        assert get(reference)[0] == index


@pytest.mark.whipray_only
def test_memory_of_what_was_not_taken_comes_back(ray, get):
    @ray.remote
    def blocks(number):
        for index in range(number):
            yield numpy.full(BLOCK, index, dtype="u1")

    for _ in range(6):
        generator = blocks.remote(5)
        get(next(generator))
        whole = generator.completed()
        del generator
        gc.collect()
        get(whole)


def test_a_number_of_results_that_is_not_met(ray, get):
    @ray.remote(num_returns=3)
    def yields(number):
        for index in range(number):
            yield index

    first, second, third = yields.remote(2)
    assert get([first, second]) == [0, 1]
    with pytest.raises(ValueError, match="Task returned 2 objects, but num_returns=3"):
        get(third)
    assert get(yields.remote(4)) == [0, 1, 2], "more than that are not asked for"


def test_an_exception_among_a_number_of_results(ray, get):
    @ray.remote(num_returns=3)
    def yields():
        yield 1
        raise KeyError("second")

    first, *others = yields.remote()
    assert get(first) == 1
    for other in others:
        with pytest.raises(KeyError):
            get(other)


def test_dynamic_results(ray, get):
    @ray.remote(num_returns="dynamic")
    def yields(number):
        for index in range(number):
            yield numpy.full(200_000 * (index % 2) + 1, index)

    reference = yields.remote(4)
    assert isinstance(reference, ray.ObjectRef)
    generator = get(reference)
    assert isinstance(generator, ray.DynamicObjectRefGenerator)
    assert len(generator) == 4
    references = list(generator)
    assert [array[-1] for array in get(references)] == [0, 1, 2, 3]
    assert list(generator) == [], "each one is given once"
    again = get(reference)
    del reference
    gc.collect()
    assert [array[-1] for array in get(list(again))] == [0, 1, 2, 3]


def test_dynamic_results_with_an_exception(ray, get):
    @ray.remote(num_returns="dynamic")
    def fails():
        yield 1
        raise KeyError("second")

    first, error = get(fails.remote())
    assert get(first) == 1
    with pytest.raises(KeyError):
        get(error)


def test_dynamic_results_as_an_argument(ray, get):
    @ray.remote(num_returns="dynamic")
    def yields(number):
        for index in range(number):
            yield index

    @ray.remote
    def total(generator):
        return sum(ray.get(list(generator)))

    assert get(total.remote(yields.remote(4))) == 6


def test_the_memory_of_dynamic_results_comes_back(ray, get):
    @ray.remote(num_returns="dynamic")
    def blocks(number):
        for index in range(number):
            yield numpy.full(BLOCK, index, dtype="u1")

    for _ in range(6):
        generator = get(blocks.remote(5))
        assert [get(reference)[0] for reference in generator] == [0, 1, 2, 3, 4]
        del generator
        gc.collect()
