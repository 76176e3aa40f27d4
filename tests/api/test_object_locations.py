"""experimental.locations: where values are and how large."""

import importlib

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module", params=["get_object_locations", "get_local_object_locations"])
def locations(engine, request):
    function = getattr(importlib.import_module(f"{engine.name}.experimental"), request.param)
    return lambda reference: function([reference])[reference]


def node_ids(ray):
    return [node["NodeID"] for node in ray.nodes()]


def test_a_large_value_is_on_this_machine(ray, locations):
    where = locations(ray.put(bytes(1_000_000)))
    assert where["node_ids"] == node_ids(ray)
    assert 1_000_000 <= where["object_size"] < 1_100_000
    assert where["did_spill"] is False


def test_a_large_result_as_well(ray, locations):
    reference = ray.remote(lambda: bytes(1_000_000)).remote()
    ray.wait([reference])
    assert locations(reference)["node_ids"] == node_ids(ray)


def test_a_small_result_is_with_its_owner(ray, locations):
    reference = ray.remote(lambda: 1).remote()
    ray.wait([reference])
    where = locations(reference)
    assert where["node_ids"] == []
    assert 0 < where["object_size"] < 1000


def test_what_is_not_there_is_nowhere(ray, locations):
    @ray.remote
    def never():
        import time

        time.sleep(600)

    reference = never.remote()
    assert locations(reference) == {"node_ids": [], "object_size": None, "did_spill": False}
    ray.cancel(reference, force=True)


@pytest.mark.whipray_only
def test_only_references_are_somewhere(ray, locations):
    with pytest.raises(TypeError):
        locations(1)
