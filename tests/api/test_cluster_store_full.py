"""Values of other nodes for which the store here, which may spill nothing, has no room."""

import numpy
import pytest

pytestmark = pytest.mark.whipray_only  # Ray maps a file instead, in its temporary directory.

CAPACITY = 100 * 1024 * 1024


@pytest.fixture
def small_head(grow):
    """A cluster whose head has a store of 100 MiB, and a node `place` with four times as much."""
    return grow(
        {"num_cpus": 1, "resources": {"place": 1}, "object_store_memory": 4 * CAPACITY},
        object_store_memory=CAPACITY,
        resources={"head": 1},
        _system_config={"automatic_object_spilling_enabled": False},
    )


@pytest.fixture
def made(ray, small_head, tmp_path):
    """`made(size)` is the reference of an array at the place; `made.runs()`, how many were made."""
    log = tmp_path / "log"

    @ray.remote(num_cpus=0, resources={"place": 1})
    def make(size):
        with open(log, "a") as file:
            file.write("x")
        return numpy.ones(size, dtype="u1")

    def made(size):
        reference = make.remote(size)
        ray.wait([reference], fetch_local=False)
        return reference

    made.runs = lambda: len(log.read_text())
    return made


def test_a_value_larger_than_the_store_of_its_reader(ray, made, get):
    total = ray.remote(num_cpus=0)(lambda value: int(value.sum()))
    size = 2 * CAPACITY
    reference = made(size)
    with pytest.raises(ray.exceptions.ObjectStoreFullError, match="does not fit"):
        get(reference)
    with pytest.raises(ray.exceptions.ObjectStoreFullError, match="does not fit"):
        get(total.options(resources={"head": 1}).remote(reference))

    @ray.remote(num_cpus=0, resources={"head": 1})
    class Reader:
        def total(self, value):
            return int(value.sum())

    with pytest.raises(ray.exceptions.ObjectStoreFullError, match="does not fit"):
        get(Reader.remote().total.remote(reference))
    # It is where it was, and was not made again.
    assert get(total.options(resources={"place": 1}).remote(reference)) == size
    assert made.runs() == 1


def test_room_for_a_value_comes_later(ray, made, get):
    size = CAPACITY // 2
    reference = made(size)
    held = [ray.put(numpy.zeros(CAPACITY // 10, dtype="u1")) for _ in range(8)]
    with pytest.raises(ray.exceptions.ObjectStoreFullError):
        get(reference)
    del held
    assert int(get(reference).sum()) == size
    assert made.runs() == 1
