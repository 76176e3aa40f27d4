"""Logical GPUs: ids, visible devices, fractions."""

import os

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=4, num_gpus=4), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def look(ray):
    @ray.remote
    def look():
        return ray.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES")

    return look


def test_driver_has_none(ray):
    assert ray.get_gpu_ids() == []


def test_task_without_gpu(look, get):
    ids, visible = get(look.remote())
    assert ids == []
    assert visible in (None, "")


@pytest.mark.parametrize("count", [1, 2, 4])
def test_ids_are_visible_devices(look, get, count):
    ids, visible = get(look.options(num_gpus=count).remote())
    assert len(set(ids)) == count
    assert set(ids) <= set(range(4))
    assert sorted(visible.split(",")) == sorted(str(number) for number in ids)


def test_fraction_of_a_gpu_is_one_device(look, get):
    ids, visible = get(look.options(num_gpus=0.25).remote())
    assert len(ids) == 1
    assert visible == str(ids[0])


def test_more_than_one_must_be_whole(look):
    with pytest.raises(ValueError, match="must"):
        look.options(num_gpus=1.5).remote()


def test_accelerator_ids(ray, get):
    @ray.remote(num_gpus=2)
    def ids():
        return ray.get_runtime_context().get_accelerator_ids()["GPU"], ray.get_gpu_ids()

    names, numbers = get(ids.remote())
    assert sorted(names) == sorted(str(number) for number in numbers)


@pytest.fixture(scope="module")
def holder_class(ray):
    @ray.remote(num_cpus=0)
    class Holder:
        def look(self):
            return ray.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES")

    return Holder


def test_actors_get_different_devices(ray, holder_class, get):
    actors = [holder_class.options(num_gpus=1).remote() for _ in range(4)]
    devices = [tuple(ids) for ids, _ in get([actor.look.remote() for actor in actors])]
    assert sorted(devices) == [(0,), (1,), (2,), (3,)]
    for actor in actors:
        ray.kill(actor)


def test_halves_share_a_device(ray, holder_class, get):
    whole = [holder_class.options(num_gpus=1).remote() for _ in range(3)]
    taken = {ids[0] for ids, _ in get([actor.look.remote() for actor in whole])}
    halves = [holder_class.options(num_gpus=0.5).remote() for _ in range(2)]
    shared = [ids for ids, _ in get([actor.look.remote() for actor in halves])]
    assert shared[0] == shared[1]
    assert shared[0][0] not in taken
    for actor in whole + halves:
        ray.kill(actor)


def test_device_comes_back(look, get):
    for _ in range(6):
        ids, _ = get(look.options(num_gpus=4).remote())
        assert sorted(ids) == [0, 1, 2, 3]


def test_worker_without_gpu_after_one_with(look, get):
    get(look.options(num_gpus=1).remote())
    ids, visible = get(look.remote())
    assert ids == [] and visible in (None, "")


def test_waits_for_a_free_device(ray, holder_class, look, get):
    actor = holder_class.options(num_gpus=4).remote()
    get(actor.look.remote())
    waiting = look.options(num_gpus=1).remote()
    assert ray.wait([waiting], timeout=0.2)[0] == []
    ray.kill(actor)
    assert len(get(waiting)[0]) == 1
