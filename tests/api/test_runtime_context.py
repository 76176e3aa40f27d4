"""get_runtime_context(), nodes() and the address of the node."""

import importlib
import os
import socket

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


def is_hex(text, length):
    return len(text) == length and set(text) <= set("0123456789abcdef")


@pytest.fixture(scope="module")
def of_task(ray, get):
    @ray.remote
    def look():
        context = ray.get_runtime_context()
        return {
            "job": context.get_job_id(),
            "node": context.get_node_id(),
            "worker": context.get_worker_id(),
            "task": context.get_task_id(),
            "name": context.get_task_name(),
            "function": context.get_task_function_name(),
            "actor": context.get_actor_id(),
            "actor name": context.get_actor_name(),
            "namespace": context.namespace,
        }

    return get(look.options(name="looking").remote())


@pytest.fixture(scope="module")
def actor(ray):
    @ray.remote
    class Actor:
        def look(self):
            context = ray.get_runtime_context()
            return {
                "job": context.get_job_id(),
                "node": context.get_node_id(),
                "worker": context.get_worker_id(),
                "task": context.get_task_id(),
                "name": context.get_task_name(),
                "actor": context.get_actor_id(),
                "actor name": context.get_actor_name(),
                "restarted": context.was_current_actor_reconstructed,
            }

        def myself(self):
            return ray.get_runtime_context().current_actor

    return Actor.options(name="observer").remote()


def test_driver(ray):
    context = ray.get_runtime_context()
    assert is_hex(context.get_job_id(), 8)
    assert is_hex(context.get_node_id(), 56)
    assert is_hex(context.get_worker_id(), 56)
    assert context.get_task_id() is None
    assert context.get_task_name() is None
    assert context.get_actor_id() is None
    assert context.get_actor_name() is None
    assert context.get_placement_group_id() is None
    assert isinstance(context.namespace, str) and context.namespace
    assert context.get_session_name().startswith("session_")


def test_driver_has_no_assigned_resources(ray):
    with pytest.raises(AssertionError, match="only available when the process is a"):
        ray.get_runtime_context().get_assigned_resources()


def test_driver_is_no_actor(ray):
    with pytest.raises(RuntimeError, match="only available in an actor"):
        ray.get_runtime_context().current_actor


def test_task(ray, of_task):
    driver = ray.get_runtime_context()
    assert of_task["job"] == driver.get_job_id()
    assert of_task["node"] == driver.get_node_id()
    assert of_task["namespace"] == driver.namespace
    assert is_hex(of_task["worker"], 56) and of_task["worker"] != driver.get_worker_id()
    assert is_hex(of_task["task"], 48)
    assert of_task["name"] == "looking"
    assert of_task["function"].endswith("look")
    assert of_task["actor"] is None
    assert of_task["actor name"] is None


def test_name_of_a_task_without_a_name_is_its_functions(ray, get):
    @ray.remote
    def plain_name():
        return ray.get_runtime_context().get_task_name()

    assert get(plain_name.remote()) == "plain_name"


def test_every_task_has_its_own_id(ray, get):
    @ray.remote
    def task_id():
        return ray.get_runtime_context().get_task_id()

    references = [task_id.remote() for _ in range(10)]
    ids = get(references)
    assert len(set(ids)) == 10
    assert ids == [reference.task_id().hex() for reference in references]


def test_actor(ray, actor, get):
    seen = get(actor.look.remote())
    assert seen["actor"] == actor._actor_id.hex()
    assert is_hex(seen["actor"], 32)
    assert seen["actor name"] == "observer"
    assert seen["name"] == "Actor.look"
    assert seen["restarted"] is False
    assert seen["job"] == ray.get_runtime_context().get_job_id()
    assert seen["task"].endswith(seen["actor"])


def test_actor_without_a_name(ray, get):
    @ray.remote(num_cpus=0)
    class Nameless:
        def name(self):
            return ray.get_runtime_context().get_actor_name()

    assert get(Nameless.remote().name.remote()) == ""


def test_actor_knows_itself(actor, get):
    assert get(actor.myself.remote()) == actor


def test_first_job_of_a_cluster(ray):
    assert ray.get_runtime_context().get_job_id() == "01000000"


def test_nodes(ray):
    (node,) = ray.nodes()
    assert node["NodeID"] == ray.get_runtime_context().get_node_id()
    assert node["Alive"] is True and node["alive"] is True
    assert node["NodeManagerAddress"] == ray.util.get_node_ip_address()
    assert node["NodeManagerHostname"] == socket.gethostname()
    assert node["Resources"]["CPU"] == 2
    assert node["Labels"]["ray.io/node-id"] == node["NodeID"]
    keys = {
        "NodeManagerPort",
        "ObjectManagerPort",
        "ObjectStoreSocketName",
        "RayletSocketName",
        "MetricsExportPort",
        "NodeName",
        "DeathReason",
        "DeathReasonMessage",
    }
    assert keys <= set(node)


def test_nodes_from_a_task(ray, get):
    assert get(ray.remote(lambda: ray.nodes()[0]["NodeID"]).remote()) == ray.nodes()[0]["NodeID"]


def test_address_of_the_node(ray, get):
    address = ray.util.get_node_ip_address()
    socket.inet_aton(address)
    assert get(ray.remote(lambda: ray.util.get_node_ip_address()).remote()) == address
    services = importlib.import_module(f"{ray.__name__}._private.services")
    assert services.get_node_ip_address() == address


def test_worker_is_another_process_of_the_same_machine(ray, get):
    assert get(ray.remote(lambda: os.getpid()).remote()) != os.getpid()
    assert get(ray.remote(lambda: socket.gethostname()).remote()) == socket.gethostname()


def test_cancelled_state(ray, get):
    assert get(ray.remote(lambda: ray.get_runtime_context().is_canceled()).remote()) is False


def test_cancelled_state_is_not_for_actors_with_coroutines(ray, get):
    class Actor:
        async def ask(self):
            return ray.get_runtime_context().is_canceled()

    with pytest.raises(RuntimeError, match="not supported in an async actor"):
        get(ray.remote(Actor).remote().ask.remote())
    with pytest.raises(RuntimeError, match="only available when the process is a worker"):
        ray.get_runtime_context().is_canceled()


def test_ids_that_there_are(ray, get):
    names = {"job_id", "node_id", "namespace"}
    assert set(ray.get_runtime_context().get()) == names
    assert set(get(ray.remote(lambda: ray.get_runtime_context().get()).remote())) == {
        *names,
        "task_id",
    }
    assert ray.get_runtime_context().current_placement_group_id.is_nil()


def test_initialized_in_workers(ray, get):
    assert get(ray.remote(lambda: ray.is_initialized()).remote()) is True


def test_version(ray):
    assert ray.__version__ == "2.60.0"


def test_identifier_classes(ray):
    for name in ("ActorID", "JobID", "NodeID", "TaskID", "WorkerID", "UniqueID", "ObjectRef"):
        kind = getattr(ray, name)
        assert kind.nil().is_nil()
        assert len(kind.nil().binary()) == kind.size()
    assert ray.ObjectID is ray.ObjectRef


def test_ids_at_once(ray, get):
    @ray.remote
    def in_task():
        return set(ray.get_runtime_context().get())

    @ray.remote
    class Actor:
        def ids(self):
            return set(ray.get_runtime_context().get())

    everywhere = {"job_id", "node_id", "namespace"}
    assert set(ray.get_runtime_context().get()) == everywhere
    assert get(in_task.remote()) == everywhere | {"task_id"}
    assert get(Actor.remote().ids.remote()) == everywhere | {"task_id", "actor_id"}
