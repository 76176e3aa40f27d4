"""What does not fit into a store that may spill nothing, and what happens afterwards."""

import numpy
import pytest

CAPACITY = 100 * 1024 * 1024

pytestmark = [
    pytest.mark.whipray_only,
    pytest.mark.cluster(
        num_cpus=2,
        object_store_memory=CAPACITY,
        _system_config={"automatic_object_spilling_enabled": False},
    ),
    pytest.mark.usefixtures("cluster"),
]


def test_object_larger_than_the_store(ray):
    with pytest.raises(ray.exceptions.ObjectStoreFullError) as caught:
        ray.put(numpy.zeros(2 * CAPACITY, dtype="u1"))
    assert str(2 * CAPACITY)[:3] in str(caught.value).replace(",", "").replace("_", "")


def test_store_full_of_held_objects_and_usable_afterwards(ray):
    held = []
    with pytest.raises(ray.exceptions.ObjectStoreFullError):
        for number in range(20):
            held.append(ray.put(numpy.full(CAPACITY // 10, number, dtype="u1")))
    assert len(held) >= 5
    for number, reference in enumerate(held):
        assert ray.get(reference)[0] == number
    held.clear()
    assert ray.get(ray.put(numpy.full(CAPACITY // 10, 9, dtype="u1")))[0] == 9


def test_small_objects_need_no_room_in_a_full_store(ray, get):
    held = []
    with pytest.raises(ray.exceptions.ObjectStoreFullError):
        while True:
            held.append(ray.put(numpy.zeros(CAPACITY // 10, dtype="u1")))
    assert get(ray.remote(lambda value: value + 1).remote(ray.put(1))) == 2


def test_result_of_a_task_larger_than_the_store(ray, get):
    @ray.remote
    def make():
        return numpy.zeros(2 * CAPACITY, dtype="u1")

    with pytest.raises(ray.exceptions.ObjectStoreFullError):
        get(make.remote())
    assert get(ray.remote(lambda: "still works").remote()) == "still works"
