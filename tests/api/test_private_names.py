"""Names that Ray does not document, and libraries use all the same."""

import pytest

pytestmark = pytest.mark.usefixtures("cluster")


def test_what_a_process_is(ray, get):
    @ray.remote
    def mode():
        return ray._private.worker.global_worker.mode

    worker = ray._private.worker.global_worker
    assert worker.mode == ray.SCRIPT_MODE
    assert worker.connected
    assert worker.current_job_id.hex() == ray.get_runtime_context().get_job_id()
    assert worker.namespace == ray.get_runtime_context().namespace
    assert get(mode.remote()) == ray.WORKER_MODE


def test_states_of_actors(ray, get):
    @ray.remote
    class Named:
        def node(self):
            return ray.get_runtime_context().get_node_id()

    from importlib import import_module

    actors = import_module(f"{ray.__name__}._private.state").actors
    handle = Named.options(name="known").remote()
    node = get(handle.node.remote())
    identity = handle._actor_id.hex()
    state = actors(identity)
    assert state["ActorID"] == identity
    assert state["ActorClassName"].endswith("Named")
    assert (state["Name"], state["State"]) == ("known", "ALIVE")
    assert state["Address"]["NodeID"] == node
    assert state["NumRestarts"] == 0
    assert not state["IsDetached"]
    assert actors()[identity]["Pid"] == state["Pid"]
    assert actors("ff" * 16) == {}
