"""Values that a program lets go although it refers to them."""

import numpy
import pytest
from harness.waiting import until

CAPACITY = 100 * 1024 * 1024

pytestmark = [
    pytest.mark.whipray_only,
    pytest.mark.cluster(num_cpus=2, object_store_memory=CAPACITY),
    pytest.mark.usefixtures("cluster"),
]


@pytest.fixture
def free(ray):
    import whipray.internal

    return whipray.internal.free


def spilled(folder):
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_value_is_gone(ray, free, size):
    reference = ray.put(numpy.zeros(size, dtype="u1"))
    free([reference])
    with pytest.raises(ray.exceptions.ObjectFreedError):
        ray.get(reference)


def test_result_of_a_task(ray, get, free):
    reference = ray.remote(lambda: numpy.ones(1_000_000)).remote()
    assert get(reference)[0] == 1
    free(reference)
    with pytest.raises(ray.exceptions.ObjectFreedError):
        ray.get(reference)


def test_value_that_is_mapped_stays(ray, get, free):
    reference = ray.put(numpy.full(1_000_000, 7, dtype="u1"))
    value = get(reference)
    free([reference])
    assert int(ray.put(numpy.zeros(1_000_000, dtype="u1")) is not None) and int(value[-1]) == 7


def test_argument_of_a_task(ray, get, free):
    reference = ray.put(numpy.zeros(1_000_000, dtype="u1"))
    free([reference])
    with pytest.raises(ray.exceptions.ObjectLostError):
        get(ray.remote(lambda value: value[0]).remote(reference))


def test_values_on_disk_are_removed(ray, init, free, tmp_path):
    ray.shutdown()
    init(num_cpus=1, object_store_memory=CAPACITY, object_spilling_directory=str(tmp_path))
    references = [ray.put(numpy.zeros(CAPACITY // 10, dtype="u1")) for _ in range(20)]
    assert spilled(tmp_path)
    free(references)
    until(lambda: not spilled(tmp_path), "the files of freed values are removed")


@pytest.mark.parametrize("value", [1, [1], (1,), None])
def test_what_is_no_reference(free, value):
    with pytest.raises(TypeError):
        free(value)
