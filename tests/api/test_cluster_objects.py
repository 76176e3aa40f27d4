"""Values that are made on one node and used on others."""

import asyncio
from importlib import import_module

import numpy
import pytest
from harness.waiting import until

pytestmark = pytest.mark.usefixtures("nodes")

COUNT = 1_250_000
"""Numbers in an array of 10 MB."""


@pytest.fixture(scope="module")
def array(ray):
    """An array of 10 MB, which the number decides."""

    @ray.remote(num_cpus=0)
    def array(number):
        return numpy.arange(COUNT, dtype=numpy.float64) + number

    return array


@pytest.fixture(scope="module")
def total(ray):
    """The sum of all arrays that are given."""

    @ray.remote(num_cpus=0)
    def total(*arrays):
        return [float(array.sum()) for array in arrays]

    return total


@pytest.fixture(scope="module")
def locations(engine):
    function = import_module(f"{engine.name}.experimental").get_object_locations
    return lambda reference: set(function([reference])[reference]["node_ids"])


def on(name):
    return {"resources": {name: 1}}


def expected(*numbers):
    base = COUNT * (COUNT - 1) / 2
    return [base + number * COUNT for number in numbers]


def test_results_of_other_nodes(nodes, array, get):
    references = [array.options(**on(name)).remote(7) for name in ("one", "two", "head")]
    for value in get(references):
        assert value.dtype == numpy.float64 and value.shape == (COUNT,)
        assert not value.flags.writeable
        assert numpy.array_equal(value, numpy.arange(COUNT) + 7)


def test_arguments_for_other_nodes(ray, nodes, total, get):
    mine = ray.put(numpy.arange(COUNT) + 1.0)
    assert get(total.options(**on("one")).remote(mine, mine)) == expected(1, 1)
    by_value = numpy.arange(COUNT) + 2.0
    assert get(total.options(**on("two")).remote(by_value)) == expected(2)


def test_from_node_to_node(nodes, array, total, get):
    first = array.options(**on("one")).remote(1)
    second = array.options(**on("two")).remote(2)
    assert get(total.options(**on("two")).remote(first, second)) == expected(1, 2)
    assert get(total.options(**on("one")).remote(first, second)) == expected(1, 2)


def test_a_chain_over_all_nodes(ray, nodes, get):
    @ray.remote(num_cpus=0)
    def increase(array):
        return array + 1

    reference = ray.put(numpy.zeros(COUNT))
    for step in range(12):
        reference = increase.options(**on(("one", "two", "head")[step % 3])).remote(reference)
    assert (get(reference) == 12).all()


def test_everyone_reads_one_value(ray, nodes, array, total, get):
    reference = array.options(**on("one")).remote(3)
    readers = [total.options(**on(name)).remote(reference) for name in ("head", "one", "two") * 5]
    assert get(readers) == [expected(3)] * 15


def test_many_values_of_middle_size(ray, nodes, get):
    @ray.remote(num_cpus=0)
    def make(number):
        return numpy.full(20_000, number)  # 160 kB

    @ray.remote(num_cpus=0)
    def sums(*arrays):
        return [int(array[0]) + int(array[-1]) for array in arrays]

    made = [make.options(**on(("one", "two")[number % 2])).remote(number) for number in range(100)]
    assert get(sums.options(**on("two")).remote(*made)) == [2 * number for number in range(100)]
    assert [int(array.mean()) for array in get(made)] == list(range(100))


def test_small_values(ray, nodes, get):
    @ray.remote(num_cpus=0)
    def add(left, right):
        return left + right

    reference = ray.put(0)
    for step in range(60):
        reference = add.options(**on(("one", "two", "head")[step % 3])).remote(reference, step)
    assert get(reference) == sum(range(60))


def test_a_value_that_a_task_has_put(ray, nodes, total, get):
    @ray.remote(num_cpus=0)
    class Owner:
        def put(self, number):
            return [ray.put(numpy.arange(COUNT) + float(number))]

    owner = Owner.options(**on("one")).remote()
    (reference,) = get(owner.put.remote(5))
    assert get(total.options(**on("two")).remote(reference)) == expected(5)
    assert float(get(reference).sum()) == expected(5)[0]


def test_a_value_outlives_the_task_that_put_it(ray, nodes, array, get):
    @ray.remote(num_cpus=0)
    def put():
        return [ray.put(numpy.arange(COUNT) + 1.0), array.options(**on("two")).remote(2)]

    references = get(put.options(**on("one")).remote())
    assert [float(value.sum()) for value in get(references)] == expected(1, 2)


def test_borrowed_references(ray, nodes, array, get):
    """A reference inside a value is resolved where it is used, and keeps its value alive."""

    @ray.remote(num_cpus=0)
    class Keeper:
        def keep(self, boxed):
            self.kept = boxed

        def sum(self):
            return float(ray.get(self.kept[0]).sum())

        def hand_on(self, other):
            ray.get(other.keep.remote(self.kept))

    first = Keeper.options(**on("one")).remote()
    second = Keeper.options(**on("two")).remote()
    reference = array.options(**on("head")).remote(4)
    get(first.keep.remote([reference]))
    del reference
    get(first.hand_on.remote(second))
    get(first.keep.remote(None))
    assert get(second.sum.remote()) == expected(4)[0]


def test_where_copies_are(ray, nodes, array, total, locations, get):
    reference = array.options(**on("one")).remote(1)
    ray.wait([reference], fetch_local=False)
    assert locations(reference) == {nodes.one}
    get(total.options(**on("two")).remote(reference))
    until(lambda: locations(reference) == {nodes.one, nodes.two}, "two has a copy")
    get(reference)
    until(lambda: locations(reference) == nodes.all, "all nodes have a copy")


def test_wait_fetches(ray, nodes, array, locations):
    reference = array.options(**on("two")).remote(1)
    ready, rest = ray.wait([reference], timeout=60, fetch_local=False)
    assert (ready, rest) == ([reference], [])
    ray.wait([reference], timeout=60)
    until(lambda: nodes.head in locations(reference), "a copy is here")


def test_memory_comes_back_everywhere(ray, nodes, array, total, get):
    def free():
        return ray.available_resources().get("object_store_memory")

    before = free()  # Copies of tests before may be left, which go when room is needed.
    references = [array.options(**on(name)).remote(1) for name in ("one", "two")]
    for name in ("one", "two", "head"):
        get(total.options(**on(name)).remote(*references))
    until(lambda: free() < before - 15_000_000, "values take room")
    del references
    until(lambda: free() >= before, "all copies are gone")


def test_errors_travel(ray, nodes, total, get):
    @ray.remote(num_cpus=0)
    def fail():
        raise KeyError("from afar")

    failed = fail.options(**on("one")).remote()
    for reference in (failed, total.options(**on("two")).remote(failed)):
        with pytest.raises(KeyError, match="from afar") as caught:
            get(reference)
        assert isinstance(caught.value, ray.exceptions.RayTaskError)


def test_streams(ray, nodes, get):
    @ray.remote(num_cpus=0)
    def stream(count):
        for number in range(count):
            yield numpy.full(50_000, number)  # 400 kB

    items = stream.options(**on("one")).remote(20)
    assert [int(get(item)[-1]) for item in items] == list(range(20))

    @ray.remote(num_cpus=0)
    def consume(items):
        return sum(int(ray.get(item)[0]) for item in items)

    @ray.remote(num_cpus=0)
    def both():
        return sum(int(ray.get(item)[0]) for item in stream.options(**on("two")).remote(20))

    assert get(both.options(**on("one")).remote()) == sum(range(20))


def test_await(nodes, array):
    async def sums():
        references = [array.options(**on(name)).remote(1) for name in ("one", "two")]
        return [float((await reference).sum()) for reference in references]

    assert asyncio.run(sums()) == expected(1, 1)


def test_several_results(ray, nodes, get):
    @ray.remote(num_cpus=0, num_returns=3)
    def several():
        return 1, numpy.ones(COUNT), "text"

    small, large, text = several.options(**on("two")).remote()
    assert (get(small), float(get(large).sum()), get(text)) == (1, COUNT, "text")


def test_more_than_a_store_holds(ray, nodes, total, get):
    """Each store has 150 MB: what does not fit is on disk, and is read all the same."""

    @ray.remote(num_cpus=0)
    def make(number):
        return numpy.full(5_000_000, float(number))  # 40 MB

    made = [make.options(**on("one")).remote(number) for number in range(8)]
    for number, reference in enumerate(made):
        (sum_there,) = get(total.options(**on("two")).remote(reference))
        assert sum_there == 5_000_000.0 * number
    for number, reference in enumerate(made):
        assert float(get(reference)[0]) == number
