"""GPUs that were chosen by name before the engine started."""

import os

import pytest

pytestmark = pytest.mark.usefixtures("stopped")


@pytest.fixture
def visible(monkeypatch):
    return lambda names: monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)


def look(ray, get, **options):
    @ray.remote
    def look():
        context = ray.get_runtime_context()
        seen = os.environ.get("CUDA_VISIBLE_DEVICES")
        return ray.get_gpu_ids(), seen, context.get_accelerator_ids()["GPU"]

    return get(look.options(**options).remote())


@pytest.mark.parametrize("names", [["2", "3"], ["MIG-4b5c", "MIG-6d7e"]], ids=",".join)
def test_a_task_sees_the_names_that_are_visible(ray, init, get, visible, names):
    visible(",".join(names))
    init(num_cpus=2, num_gpus=2)
    for amount in (1, 0.5):
        ids, seen, accelerators = look(ray, get, num_gpus=amount)
        assert ids == accelerators == [seen]
        assert seen in names
    assert look(ray, get, num_gpus=2) == (names, ",".join(names), names)
    assert look(ray, get) == ([], ",".join(names), [])


def test_no_more_than_are_visible(init, visible):
    visible("2,3")
    with pytest.raises(ValueError, match="contains \\['2', '3'\\]"):
        init(num_cpus=2, num_gpus=3)


def test_threads_of_numeric_libraries(ray, init, get):
    init(num_cpus=4)

    @ray.remote
    def threads():
        return os.environ["OMP_NUM_THREADS"]

    @ray.remote
    class Actor:
        def threads(self):
            return os.environ["OMP_NUM_THREADS"]

    for cpus, expected in ((1, "1"), (2, "2"), (0.5, "1"), (0, "1"), (2.5, "2")):
        assert get(threads.options(num_cpus=cpus).remote()) == expected
    assert get(Actor.remote().threads.remote()) == "1"
    assert get(Actor.options(num_cpus=3).remote().threads.remote()) == "3"
    own = {"env_vars": {"OMP_NUM_THREADS": "7"}}
    assert get(threads.options(runtime_env=own).remote()) == "7"


def test_threads_that_the_user_chose(ray, init, get, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    init(num_cpus=2)

    @ray.remote
    def threads():
        return os.environ["OMP_NUM_THREADS"]

    assert get(threads.remote()) == "5"


@pytest.mark.whipray_only
def test_an_accelerator_type_that_no_node_has_is_named(ray, init):
    init(num_cpus=1)

    @ray.remote(accelerator_type="A100")
    def with_type():
        pass

    reference = with_type.remote()
    assert ray.wait([reference], timeout=0.5)[0] == []
    ray.cancel(reference)


def test_an_accelerator_type_that_a_node_has(ray, init, get):
    init(num_cpus=1, resources={"accelerator_type:T9000": 1})

    @ray.remote(accelerator_type="T9000")
    def with_type():
        return "ran"

    assert get([with_type.remote() for _ in range(3)]) == ["ran"] * 3
