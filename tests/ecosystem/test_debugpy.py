"""Breakpoints for editors: debugpy in workers and drivers, and a client that attaches to it."""

import json
import re

import pytest
from debug_adapter_client import DebugAdapterClient
from harness.engine import run_command
from harness.waiting import until

pytest.importorskip("debugpy")

BEGIN = """
import ray
ray.init(num_cpus=2)
"""


@pytest.fixture
def program(drivers):
    """`program(body)`: a driver with this body, which waits for an editor somewhere."""
    return lambda body: drivers.start(BEGIN + body)


@pytest.fixture
def attach():
    """`attach(port)`: an editor at this port."""
    made = []

    def start(port):
        made.append(DebugAdapterClient(port))
        return made[-1]

    yield start
    for client in made:
        client.close()


def waiting(program, name, times=1):
    """The port at which debugpy waits, when that was said of `name` so many times."""
    pattern = re.compile(rf"{name} waits for a debugger at 127\.0\.0\.1:(\d+)")
    found = []

    def said():
        found[:] = pattern.findall(program.stderr)
        if len(found) < times and program.process.poll() is not None:
            raise AssertionError(f"the driver ended: {program.told()}")
        return len(found) >= times

    until(said, f"{name} waits for a debugger")
    return int(found[-1])


TASK = """
@ray.remote
def stops(value):
    breakpoint()
    value += 1
    return value

print("first", ray.get(stops.remote(41)))
print("second", ray.get(stops.remote(1)))
"""


def test_a_process_that_waits_for_an_editor_is_listed(program, attach):
    """Its columns in the state API were always empty."""
    running = program(TASK)
    port = waiting(running, "stops")

    def listed():
        told = run_command("list", "workers", "--detail", "--format=json").stdout
        return [worker for worker in json.loads(told) if worker["debugger_port"] is not None]

    (worker,) = listed()
    assert (worker["debugger_port"], worker["num_paused_threads"]) == (port, 1)
    editor = attach(port)
    event, _ = editor.stopped()
    (worker,) = listed()
    assert worker["debugger_port"] == port
    editor.request("continue", threadId=event["threadId"])
    running.until_printed("first 42")


def test_a_task_stops_steps_and_goes_on(program, attach):
    running = program(TASK)
    editor = attach(waiting(running, "stops"))
    event, frame = editor.stopped()
    assert (event["reason"], frame["name"]) == ("breakpoint", "stops")
    assert frame["source"]["path"] == str(running.script)
    assert editor.variables(frame)["value"] == "41"
    editor.request("evaluate", expression="value = 7", frameId=frame["id"], context="repl")
    editor.request("next", threadId=event["threadId"])
    event, stepped = editor.stopped()
    assert (event["reason"], stepped["line"]) == ("step", frame["line"] + 1)
    editor.request("continue", threadId=event["threadId"])
    running.until_printed("first 8")

    # The next task of the process stops for the editor that is still there.
    event, frame = editor.stopped()
    assert editor.variables(frame)["value"] == "1"
    editor.request("continue", threadId=event["threadId"])
    assert running.finish() == 0
    assert "second 2" in running.stdout


def test_another_editor_attaches_when_the_first_one_has_gone(program, attach):
    running = program(TASK)
    editor = attach(waiting(running, "stops"))
    editor.stopped()
    editor.go_away()
    running.until_printed("first 42")

    another = attach(waiting(running, "stops", times=2))
    event, frame = another.stopped()
    assert another.variables(frame)["value"] == "1"
    another.request("continue", threadId=event["threadId"])
    assert running.finish() == 0


METHOD = """
@ray.remote
class Counter:
    def __init__(self):
        self.count = 7

    def read(self):
        breakpoint()
        return self.count

counter = Counter.remote()
print("count", ray.get(counter.read.remote()))
"""


def test_a_method_of_an_actor(program, attach):
    running = program(METHOD)
    editor = attach(waiting(running, "Counter.read"))
    event, frame = editor.stopped()
    assert frame["name"].endswith("read")
    editor.request("evaluate", expression="self.count = 8", frameId=frame["id"], context="repl")
    editor.request("continue", threadId=event["threadId"])
    assert running.finish() == 0
    assert "count 8" in running.stdout


POST_MORTEM = """
@ray.remote(runtime_env={"env_vars": {"RAY_DEBUG_POST_MORTEM": "1"}}, max_retries=0)
def fails():
    culprit = 12
    raise ValueError(f"not {culprit}")

try:
    ray.get(fails.remote())
except ValueError as error:
    print("raised", error)
"""


def test_an_exception_stops_where_it_was_raised(program, attach):
    running = program(POST_MORTEM)
    editor = attach(waiting(running, "fails"))
    event, frame = editor.stopped()
    assert (event["reason"], frame["name"]) == ("exception", "fails")
    assert editor.variables(frame)["culprit"] == "12"
    editor.request("continue", threadId=event["threadId"])
    assert running.finish() == 0
    assert "not 12" in running.stdout


DRIVER = """
total = 3
breakpoint()
total += 1
print("total", total)
"""


def test_a_driver(program, attach):
    running = program(DRIVER)
    editor = attach(waiting(running, "The program"))
    event, frame = editor.stopped()
    assert editor.variables(frame)["total"] == "3"
    editor.request("continue", threadId=event["threadId"])
    assert running.finish() == 0
    assert "total 4" in running.stdout


GIVEN_UP = """
@ray.remote
class Waits:
    def stop(self):
        breakpoint()

waits = Waits.remote()
ref = waits.stop.remote()
input_file = __file__ + ".go"
import os, time
while not os.path.exists(input_file):
    time.sleep(0.01)
ray.kill(waits)
try:
    ray.get(ref)
except ray.exceptions.ActorDiedError:
    print("given up")
"""


def test_what_waits_for_an_editor_can_be_killed(program):
    running = program(GIVEN_UP)
    waiting(running, "Waits.stop")
    running.script.with_name(running.script.name + ".go").touch()
    assert running.finish() == 0
    assert "given up" in running.stdout
