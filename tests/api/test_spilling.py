"""More objects than the store has room for: the rest goes to disk, and comes back as it was."""

import numpy
import pytest

CAPACITY = 100 * 1024 * 1024
PART = 10 * 1024 * 1024
PARTS = 30
"""Three times what the store can hold."""

pytestmark = [
    pytest.mark.cluster(num_cpus=2, object_store_memory=CAPACITY),
    pytest.mark.usefixtures("cluster"),
]


def part(number):
    """An array of which every byte depends on the number."""
    return (numpy.arange(PART, dtype="u4") * (number + 1)).astype("u1")


def is_part(value, number):
    return numpy.array_equal(value, part(number))


def put_all(ray):
    return [ray.put(part(number)) for number in range(PARTS)]


def test_all_come_back_one_by_one(ray, get):
    references = put_all(ray)
    for number, reference in enumerate(references):
        assert is_part(get(reference), number)


def test_all_come_back_at_once(ray, get):
    """The program may hold all the values at the same time, although the store cannot."""
    references = put_all(ray)
    values = get(references)
    assert all(is_part(value, number) for number, value in enumerate(values))


def test_values_on_disk_are_read_only(ray, get):
    references = put_all(ray)
    with pytest.raises(ValueError):
        get(references[0])[0] = 1


def test_arguments_of_tasks(ray, get):
    references = put_all(ray)

    @ray.remote
    def check(value, number):
        return is_part(value, number)

    assert all(get([check.remote(it, number) for number, it in enumerate(references)]))


def test_one_object_read_by_many(ray, get):
    references = put_all(ray)

    @ray.remote
    def total(value):
        return int(value.sum(dtype="u8"))

    expected = int(part(0).sum(dtype="u8"))
    assert get([total.remote(references[0]) for _ in range(8)]) == [expected] * 8


def test_results_of_tasks(ray, get):
    @ray.remote
    def make(number):
        return part(number)

    results = [make.remote(number) for number in range(PARTS)]
    for number, result in enumerate(results):
        assert is_part(get(result), number)


def test_references_inside_objects(ray, get):
    references = put_all(ray)

    @ray.remote
    def check(inside):
        return all(is_part(ray.get(it), number) for number, it in enumerate(inside))

    assert get(check.remote(references[:3]))


def test_objects_of_actors(ray, get):
    @ray.remote
    class Maker:
        def make(self, number):
            return [ray.put(part(number))]

    maker = Maker.remote()
    made = [get(maker.make.remote(number))[0] for number in range(PARTS)]
    for number, reference in enumerate(made):
        assert is_part(get(reference), number)


def test_object_larger_than_the_store(ray, get):
    reference = ray.put(numpy.full(2 * CAPACITY, 3, dtype="u1"))
    value = get(reference)
    assert value.nbytes == 2 * CAPACITY and value[0] == 3 and value[-1] == 3


def test_result_larger_than_the_store(ray, get):
    @ray.remote
    def make():
        return numpy.full(2 * CAPACITY, 4, dtype="u1")

    value = get(make.remote())
    assert value.nbytes == 2 * CAPACITY and value[0] == 4 and value[-1] == 4


def test_small_objects(ray, get):
    size = 200 * 1024
    references = [ray.put(numpy.full(size, number % 251, dtype="u1")) for number in range(1500)]
    for number, reference in enumerate(references):
        value = get(reference)
        assert value[0] == number % 251 and value[-1] == number % 251


def test_room_comes_back(ray, get):
    references = put_all(ray)
    del references
    for number in range(PARTS):
        assert is_part(get(ray.put(part(number))), number)
