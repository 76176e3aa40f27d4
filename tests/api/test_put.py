"""put(): values of every size, zero-copy arrays, nested references."""

import datetime
import decimal
import sys

import numpy
import pytest

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -1,
        2**200,
        -(2**63),
        1.5,
        float("inf"),
        complex(1, -2),
        "",
        "text \u00e9 \U0001f600",
        "\ud800",
        b"",
        b"bytes\x00",
        [],
        (),
        {},
        set(),
        frozenset({1, 2}),
        [1, [2, (3, {"four": {5}})]],
        {1: "a", (2, 3): None},
        range(3),
        decimal.Decimal("1.10"),
        datetime.datetime(2026, 1, 2, 3, 4, 5),
        int,
        len,
    ],
    ids=repr,
)
def test_round_trip_of_types(ray, value):
    copy = ray.get(ray.put(value))
    assert copy == value
    assert type(copy) is type(value)


def test_not_a_number(ray):
    copy = ray.get(ray.put(float("nan")))
    assert copy != copy


@pytest.mark.parametrize("size", [1, 100_000, 102_400, 110_000, 5_000_000])
def test_sizes(ray, size):
    data = bytes([7]) * size
    assert ray.get(ray.put(data)) == data
    text = "x" * size
    assert ray.get(ray.put(text)) == text


def test_shared_and_cyclic_parts(ray):
    shared = [1]
    cycle = [shared, shared]
    cycle.append(cycle)
    copy = ray.get(ray.put(cycle))
    assert copy[0] is copy[1]
    assert copy[2] is copy


def test_subclasses_of_builtins_keep_their_type(ray):
    import collections
    import enum

    class Colour(enum.IntEnum):
        RED = 1

    Pair = collections.namedtuple("Pair", "a b")
    values = [Colour.RED, Pair(1, 2), collections.OrderedDict(a=1), collections.Counter("aab")]
    for value in values:
        copy = ray.get(ray.put(value))
        assert copy == value
        assert type(copy).__name__ == type(value).__name__


def test_later_changes_do_not_show(ray):
    items = [1]
    reference = ray.put(items)
    items.append(2)
    assert ray.get(reference) == [1]


def test_lambda_and_local_class(ray):
    class Local:
        value = 3

    assert ray.get(ray.put(lambda x: x + 1))(1) == 2
    assert ray.get(ray.put(Local())).value == 3


def test_reference_itself_is_refused(ray):
    with pytest.raises(TypeError, match="Calling 'put' on an ray.ObjectRef is not allowed"):
        ray.put(ray.put(1))


def test_nested_references(ray):
    inner = ray.put("inner")
    (middle,) = ray.get(ray.put([inner]))
    assert middle == inner
    assert ray.get(middle) == "inner"
    table = ray.get(ray.put({"deep": [{"deeper": inner}]}))
    assert ray.get(table["deep"][0]["deeper"]) == "inner"


def test_unpicklable_value(ray):
    import threading

    with pytest.raises(TypeError, match="Could not serialize the put value"):
        ray.put(threading.Lock())


@pytest.mark.parametrize("length", [10, 1_000_000])
def test_array_is_read_only(ray, length):
    array = ray.get(ray.put(numpy.arange(length)))
    assert array.sum() == length * (length - 1) // 2
    assert not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_large_array_is_not_copied(ray):
    reference = ray.put(numpy.arange(1_000_000))
    first, second = ray.get(reference), ray.get(reference)
    assert first.ctypes.data == second.ctypes.data
    assert not first.flags.owndata
    assert first.ctypes.data % 64 == 0


def test_task_reads_the_same_array(ray, get):
    @ray.remote
    def look(array):
        return array.flags.writeable, array.ctypes.data % 64, int(array.sum())

    assert get(look.remote(ray.put(numpy.ones(1_000_000, dtype="i8")))) == (False, 0, 1_000_000)


@pytest.mark.parametrize(
    "array",
    [
        numpy.zeros((0, 3)),
        numpy.array(5.0),
        numpy.asfortranarray(numpy.arange(12).reshape(3, 4)),
        numpy.arange(20)[::2],
        numpy.array(["a", "bc"]),
        numpy.array([1, "two", None], dtype=object),
        numpy.zeros(3, dtype=[("x", "i4"), ("y", "f8")]),
        numpy.arange(300_000, dtype="f4").reshape(3, -1),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_of_every_kind(ray, array):
    copy = ray.get(ray.put(array))
    assert copy.dtype == array.dtype and copy.shape == array.shape
    numpy.testing.assert_array_equal(copy, array)


def test_several_arrays_in_one_value(ray):
    arrays = {name: numpy.full(200_000, number) for number, name in enumerate("abc")}
    copies = ray.get(ray.put(arrays))
    for name, array in arrays.items():
        numpy.testing.assert_array_equal(copies[name], array)
        assert copies[name].ctypes.data % 64 == 0


def test_array_outlives_its_reference(ray):
    array = ray.get(ray.put(numpy.full(1_000_000, 3)))
    # Objects that come and go would overwrite the memory if it were free.
    for number in range(20):
        ray.put(numpy.full(1_000_000, number + 10))
    assert (array == 3).all()


def test_slice_of_an_array_outlives_the_array(ray):
    part = ray.get(ray.put(numpy.full(1_000_000, 3)))[10:20]
    for number in range(20):
        ray.put(numpy.full(1_000_000, number + 10))
    assert (part == 3).all()


def test_put_inside_a_task(ray, get):
    @ray.remote
    def make():
        return [ray.put(numpy.full(200_000, number)) for number in range(3)]

    assert [int(array[0]) for array in get(get(make.remote()))] == [0, 1, 2]


def test_value_stays_the_same_for_every_reader(ray, get):
    @ray.remote
    def spoil(items):
        items[0].append("spoilt")
        return len(items)

    reference = ray.put([[1]])
    assert get([spoil.remote(reference) for _ in range(4)]) == [1] * 4
    assert ray.get(reference) == [[1]]


def test_object_graph_deeper_than_a_few_levels(ray):
    depth = sys.getrecursionlimit() // 10
    value = None
    for _ in range(depth):
        value = [value]
    copy, levels = ray.get(ray.put(value)), 0
    while copy is not None:
        (copy,) = copy
        levels += 1
    assert levels == depth
