"""Memory comes back when the last reference goes, wherever that reference was."""

import gc

import numpy
import pytest

CAPACITY = 100 * 1024 * 1024
BLOCK = 10 * 1024 * 1024
ROUNDS = 40
"""So many blocks are four times the capacity of the store."""

pytestmark = [
    # What is not let go of must be an error, and no file.
    pytest.mark.cluster(
        num_cpus=2,
        object_store_memory=CAPACITY,
        _system_config={"automatic_object_spilling_enabled": False},
    ),
    pytest.mark.usefixtures("cluster"),
]


def block(number):
    return numpy.full(BLOCK, number, dtype="u1")


def test_dropped_puts(ray):
    for number in range(ROUNDS):
        reference = ray.put(block(number))
        assert ray.get(reference)[0] == number
        del reference


def test_dropped_results_of_tasks(ray, get):
    make = ray.remote(lambda number: numpy.full(BLOCK, number, dtype="u1"))
    for number in range(ROUNDS):
        assert get(make.remote(number))[0] == number


def test_dropped_arguments_of_tasks(ray, get):
    first_byte = ray.remote(lambda array: int(array[0]))
    for number in range(ROUNDS):
        assert get(first_byte.remote(ray.put(block(number)))) == number


def test_large_arguments_by_value(ray, get):
    first_byte = ray.remote(lambda array: int(array[0]))
    for number in range(ROUNDS):
        assert get(first_byte.remote(block(number))) == number


def test_nested_references_go_with_their_holder(ray):
    for number in range(ROUNDS):
        outer = ray.put([ray.put(block(number))])
        gc.collect()
        (inner,) = ray.get(outer)
        del outer
        assert ray.get(inner)[0] == number
        del inner


def test_nested_reference_keeps_the_inner_object(ray):
    outer = ray.put({"inner": ray.put(block(77))})
    for number in range(ROUNDS):
        ray.put(block(number))
    assert ray.get(ray.get(outer)["inner"])[0] == 77


def test_results_that_hold_references(ray, get):
    @ray.remote
    def make(number):
        return [ray.put(numpy.full(BLOCK, number, dtype="u1"))]

    for number in range(ROUNDS):
        (inner,) = get(make.remote(number))
        assert get(inner)[0] == number


def test_reference_kept_by_an_actor(ray, get):
    @ray.remote
    class Keeper:
        def keep(self, items):
            self.items = items

        def first_byte(self):
            return int(ray.get(self.items[0])[0])

        def drop(self):
            self.items = None

    keeper = Keeper.remote()
    get(keeper.keep.remote([ray.put(block(99))]))
    for number in range(ROUNDS):
        ray.put(block(number))
    assert get(keeper.first_byte.remote()) == 99
    get(keeper.drop.remote())


def test_reference_dropped_by_an_actor(ray, get):
    @ray.remote
    class Keeper:
        def keep(self, items):
            self.items = items
            return int(ray.get(items[0])[0])

    keeper = Keeper.remote()
    for number in range(ROUNDS):
        assert get(keeper.keep.remote([ray.put(block(number))])) == number


def test_reference_passed_on_by_a_borrower(ray, get):
    @ray.remote
    def last(items):
        return int(ray.get(items[0])[0])

    @ray.remote
    def middle(items):
        return ray.get(last.remote(items))

    for number in range(ROUNDS // 2):
        assert get(middle.remote([ray.put(block(number))])) == number


def test_object_whose_only_reference_is_a_pending_argument(ray, get, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote
    def wait_for_gate():
        import time

        while not gate.exists():
            time.sleep(0.01)

    first_byte = ray.remote(lambda array, _: int(array[0]))
    result = first_byte.remote(ray.put(block(55)), wait_for_gate.remote())
    for number in range(ROUNDS):
        ray.put(block(number))
    gate.touch()
    assert get(result) == 55


def test_actor_that_dies_lets_go(ray, get):
    @ray.remote
    class Keeper:
        def keep(self, items):
            self.array = ray.get(items[0])
            self.items = items
            return int(self.array[0])

    for number in range(12):
        keeper = Keeper.remote()
        assert get(keeper.keep.remote([ray.put(block(number))])) == number
        ray.kill(keeper)


def test_failed_task_lets_its_argument_go(ray, get):
    @ray.remote
    def fail(array):
        raise ValueError(int(array[0]))

    for number in range(ROUNDS):
        with pytest.raises(ValueError, match=str(number)):
            get(fail.remote(ray.put(block(number))))
