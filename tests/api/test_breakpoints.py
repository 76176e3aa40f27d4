"""Breakpoints in tasks and actors, and the debugger that attaches to them."""

import importlib
import json
import socket
import sys

import pytest
from harness.debugger import Debugger
from harness.waiting import GENEROUS_SECONDS, until

LEGACY = {"env_vars": {"RAY_DEBUG": "legacy"}}

pytestmark = pytest.mark.cluster(runtime_env=LEGACY)


@pytest.fixture
def debugger(engine, cluster):
    made = Debugger(engine, cluster.address_info["gcs_address"])
    yield made
    made.end()


def test_a_task_stops_and_goes_on(ray, get, debugger):
    @ray.remote
    def stops():
        value = 41
        ray.util.pdb.set_trace()
        return value + 1

    ref = stops.remote()
    shown = debugger.choose("ray::")
    assert "stops" in shown and "test_breakpoints.py" in shown
    debugger.until_said("(Pdb) ")
    debugger.say("p 'value', value")
    assert "('value', 41)" in debugger.until_said("(Pdb) ")
    debugger.say("value = 1")
    debugger.until_said("(Pdb) ")
    debugger.say("c")
    get(ref)
    assert "ray::" not in debugger.until_said("press enter to refresh: ")


def test_breakpoint_in_an_actor(ray, get, debugger):
    @ray.remote
    class Counter:
        def __init__(self):
            self.count = 7

        def read(self):
            breakpoint()
            return self.count

    counter = Counter.remote()
    ref = counter.read.remote()
    debugger.choose("Counter")
    debugger.until_said("(Pdb) ")
    debugger.say("self.count = 8")
    debugger.until_said("(Pdb) ")
    debugger.say("c")
    assert get(ref) == 8


def test_quit_fails_the_task(ray, get, debugger):
    @ray.remote(max_retries=0)
    def stops():
        breakpoint()
        return 1

    ref = stops.remote()
    debugger.choose("ray::")
    debugger.until_said("(Pdb) ")
    debugger.say("q")
    with pytest.raises(ray.exceptions.RayTaskError, match="BdbQuit"):
        get(ref)


def test_post_mortem(ray, get, debugger):
    @ray.remote(runtime_env={"env_vars": {"RAY_DEBUG_POST_MORTEM": "1", "RAY_DEBUG": "legacy"}})
    def fails():
        culprit = 12
        raise ValueError(f"not {culprit}")

    ref = fails.remote()
    assert "ValueError: not 12" in debugger.choose("ray::")
    debugger.until_said("(Pdb) ")
    debugger.say("p 'culprit', culprit")
    assert "('culprit', 12)" in debugger.until_said("(Pdb) ")
    debugger.say("c")
    with pytest.raises(ValueError, match="not 12"):
        get(ref)


def test_without_debugpy_the_program_goes_on(ray, get):
    @ray.remote(runtime_env={"env_vars": {"RAY_DEBUG": "1"}})
    def passes():
        # Where it is installed it would wait for an editor.
        sys.modules["debugpy"] = None
        breakpoint()
        return "through"

    assert get(passes.remote()) == "through"


def test_other_values_turn_breakpoints_off(ray, get):
    @ray.remote(runtime_env={"env_vars": {"RAY_DEBUG": "0"}})
    def passes():
        ray.util.pdb.set_trace()
        return "through"

    assert get(passes.remote()) == "through"


@pytest.mark.whipray_only
def test_processes_at_breakpoints_in_the_state_api(ray, get, debugger, engine):
    """`debugger_port` and `num_paused_threads` were always missing."""
    state = importlib.import_module(f"{engine.name}.util.state")

    @ray.remote
    def stops():
        breakpoint()
        return ray.get_runtime_context().get_worker_id()

    def stopped():
        workers = state.list_workers(detail=True, filters=[("num_paused_threads", "=", 1)])
        return [(worker.worker_id, worker.debugger_port) for worker in workers]

    ref = stops.remote()
    ((worker, port),) = until(stopped, "somebody waits at the breakpoint")
    assert port > 0
    (task,) = state.list_tasks(filters=[("is_debugger_paused", "=", True)], detail=True)
    assert (task.name, task.worker_id) == ("stops", worker)
    debugger.choose("stops")
    debugger.until_said("(Pdb) ")
    debugger.say("c")
    assert get(ref) == worker
    assert stopped() == []


@pytest.mark.whipray_only
def test_a_breakpoint_on_the_way_stops_in_the_session(ray, get, debugger):
    """It waited for another debugger, which nobody could attach: the one was with the first."""

    @ray.remote
    def stops():
        breakpoint()
        value = 4
        breakpoint()
        return value

    ref = stops.remote()
    debugger.choose("ray::")
    debugger.until_said("(Pdb) ")
    debugger.say("n")
    debugger.until_said("(Pdb) ")
    debugger.say("n")
    debugger.until_said("(Pdb) ")
    debugger.say("p 'value', value")
    assert "('value', 4)" in debugger.until_said("(Pdb) ")
    debugger.say("c")
    assert get(ref) == 4


@pytest.mark.whipray_only
def test_stepping_ends_with_the_task(ray, get, debugger):
    """Commands that were typed ahead were lost; stepping must not lead into the next task."""

    @ray.remote
    def stops():
        breakpoint()
        return 5

    ref = stops.remote()
    debugger.choose("ray::")
    for _ in range(4):
        debugger.say("n")
    assert get(ref) == 5
    debugger.until_said("press enter to refresh: ")


@pytest.mark.whipray_only
def test_the_secret_is_needed(ray, get, debugger):
    from whipray import _core

    @ray.remote
    def stops():
        breakpoint()
        return 3

    ref = stops.remote()
    until(lambda: _core.kv_keys("ray_pdb", b"RAY_PDB_"), "the task stops")
    (key,) = _core.kv_keys("ray_pdb", b"RAY_PDB_")
    place = json.loads(_core.kv_get("ray_pdb", key))
    port = int(place["pdb_address"].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(b"c\n")
        stranger.settimeout(GENEROUS_SECONDS)
        assert stranger.recv(1) == b""
    assert ray.wait([ref], timeout=0.1)[0] == []
    debugger.choose("ray::")
    debugger.until_said("(Pdb) ")
    debugger.say("c")
    assert get(ref) == 3


@pytest.mark.whipray_only
def test_a_client_that_goes_away_lets_the_program_go_on(ray, get, debugger):
    @ray.remote
    def stops():
        breakpoint()
        return 9

    ref = stops.remote()
    debugger.choose("ray::")
    debugger.until_said("(Pdb) ")
    debugger.process.kill()
    assert get(ref) == 9
