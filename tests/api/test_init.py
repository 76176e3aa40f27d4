"""init(), shutdown(), is_initialized() and the context that init() returns."""

import os
import re
import sys

import pytest

pytestmark = pytest.mark.usefixtures("stopped")


def test_starts_and_stops(ray, init):
    assert not ray.is_initialized()
    init(num_cpus=1)
    assert ray.is_initialized()
    ray.shutdown()
    assert not ray.is_initialized()


def test_shutdown_without_cluster_does_nothing(ray):
    assert ray.shutdown() is None
    assert ray.shutdown() is None


def test_second_init_is_refused_until_shutdown(ray, init):
    init(num_cpus=1)
    with pytest.raises(RuntimeError, match="Maybe you called ray.init twice by accident") as caught:
        init(num_cpus=1)
    assert type(caught.value) is RuntimeError
    assert "ignore_reinit_error=True" in str(caught.value)
    assert ray.is_initialized()


def test_second_init_can_be_ignored(ray, init):
    first = init(num_cpus=1)
    second = init(num_cpus=2, ignore_reinit_error=True)
    assert second.address_info == first.address_info
    assert ray.cluster_resources()["CPU"] == 1


def test_init_again_after_shutdown_gives_a_new_cluster(ray, init, get):
    nodes = set()
    for number in range(2):
        context = init(num_cpus=1)
        nodes.add(context.address_info["node_id"])
        assert get(ray.remote(lambda: number).remote()) == number
        ray.shutdown()
    assert len(nodes) == 2


def test_functions_and_classes_survive_a_new_cluster(ray, init, get):
    @ray.remote
    def double(value):
        return 2 * value

    @ray.remote
    class Counter:
        def __init__(self):
            self.count = 0

        def up(self):
            self.count += 1
            return self.count

    for _ in range(2):
        init(num_cpus=2)
        assert get(double.remote(4)) == 8
        assert get(Counter.remote().up.remote()) == 1
        ray.shutdown()


@pytest.mark.filterwarnings("ignore")
def test_context_is_a_mapping(ray, init):
    context = init(num_cpus=1)
    keys = {
        "node_ip_address",
        "object_store_address",
        "raylet_socket_name",
        "webui_url",
        "session_dir",
        "metrics_export_port",
        "gcs_address",
        "address",
        "node_id",
    }
    assert keys <= set(context.address_info)
    assert context["address"] == context.address_info["address"]
    assert context.get("no such key", "nothing") == "nothing"
    with pytest.raises(KeyError):
        context["no such key"]
    assert os.path.isdir(context.address_info["session_dir"])


def test_context_tells_versions(ray, init):
    context = init(num_cpus=1)
    assert context.ray_version == "2.60.0"
    major, minor, *_ = context.python_version.split(".")
    assert (int(major), int(minor)) == sys.version_info[:2]
    assert context.ray_commit == ray.__commit__
    assert hasattr(context, "dashboard_url")


def test_context_ends_the_cluster_when_left(ray, init):
    with init(num_cpus=1):
        assert ray.is_initialized()
    assert not ray.is_initialized()


def test_disconnect_ends_the_cluster(ray, init):
    init(num_cpus=1).disconnect()
    assert not ray.is_initialized()


def test_resources_given_to_init(ray, init):
    init(num_cpus=3, num_gpus=2, resources={"gold": 5})
    resources = ray.cluster_resources()
    assert resources["CPU"] == 3
    assert resources["GPU"] == 2
    assert resources["gold"] == 5


def test_object_store_memory_given_to_init(ray, init):
    size = 200 * 1024 * 1024
    init(num_cpus=1, object_store_memory=size)
    assert ray.cluster_resources()["object_store_memory"] == size


def test_namespace_given_to_init(ray, init):
    init(num_cpus=1, namespace="team")
    assert ray.get_runtime_context().namespace == "team"


def test_session_folder_is_below_the_temporary_folder(ray, init):
    folder = os.path.join(os.environ["RAY_TMPDIR"], "own")
    context = init(num_cpus=1, _temp_dir=folder)
    assert context.address_info["session_dir"].startswith(folder)
    assert os.path.isdir(os.path.join(context.address_info["session_dir"], "logs"))


@pytest.mark.whipray_only
def test_temporary_folder_that_cannot_be_made(ray, init, tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises((OSError, RuntimeError), match=re.escape(str(file))) as caught:
        init(num_cpus=1, _temp_dir=str(file))
    assert "\n" not in str(caught.value)
    assert not ray.is_initialized()


def test_state_needs_a_cluster(ray):
    for ask in (ray.nodes, ray.cluster_resources, ray.available_resources):
        with pytest.raises(ray.exceptions.RaySystemError, match="has not been started yet"):
            ask()


def test_first_remote_call_starts_a_cluster(ray, get):
    assert get(ray.remote(lambda: 5).remote()) == 5
    assert ray.is_initialized()


def test_put_starts_a_cluster(ray, get):
    assert get(ray.put(6)) == 6
    assert ray.is_initialized()


@pytest.mark.parametrize(
    "options, kind",
    [
        ({"num_cpus": -1}, ValueError),
        ({"num_cpus": 1.5}, ValueError),
        ({"num_cpus": "1"}, AssertionError),
        ({"num_gpus": -1}, ValueError),
        ({"_memory": -1}, ValueError),
        ({"_temp_dir": 1}, TypeError),
        ({"resources": {"CPU": 1}}, AssertionError),
        ({"resources": {"memory": 1}}, AssertionError),
        ({"resources": {"gold": -1}}, ValueError),
        ({"resources": {"gold": "1"}}, AssertionError),
        ({"object_store_memory": "1"}, TypeError),
        ({"local_mode": True}, RuntimeError),
        ({"allow_multiple": True}, RuntimeError),
        ({"storage": "/tmp"}, RuntimeError),
        ({"address": "nonsense"}, ValueError),
        ({"namespace": ""}, ValueError),
        ({"namespace": 1}, TypeError),
        ({"runtime_env": {"env_vars": {"A": 1}}}, TypeError),
        ({"logging_level": "shouting"}, ValueError),
        ({"object_store_memory": 10}, ValueError),
        ({"no_such_option": 1}, RuntimeError),
    ],
)
def test_bad_options(ray, init, options, kind):
    with pytest.raises(kind):
        init(**options)
    assert not ray.is_initialized()


@pytest.mark.whipray_only  # Ray finds clusters of anybody on the machine.
def test_no_cluster_to_connect_to(ray, init):
    with pytest.raises(ConnectionError):
        init(address="auto")
    assert not ray.is_initialized()


def test_reference_of_an_older_cluster_is_unknown(ray, init):
    init(num_cpus=1)
    old = ray.put(1)
    ray.shutdown()
    init(num_cpus=1)
    with pytest.raises(ValueError, match="owner is unknown"):
        ray.get(old, timeout=2)
