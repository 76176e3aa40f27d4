"""The debugger's commands `remote` and `get`: into the task that is called, and out of it.

In Ray the command waits for ever for another process when the last session has ended, so that only
one test could be run there.
"""

import pytest
from harness.debugger import Debugger
from harness.engine import run_command
from harness.waiting import GENEROUS_SECONDS

LEGACY = {"env_vars": {"RAY_DEBUG": "legacy"}}

pytestmark = [
    pytest.mark.cluster(num_cpus=3, runtime_env=LEGACY),
    pytest.mark.whipray_only,
]


@pytest.fixture
def debugger(engine, cluster):
    made = Debugger(engine, cluster.address_info["gcs_address"])
    yield made
    made.end()


@pytest.fixture
def inner(ray):
    @ray.remote
    def inner(number, fails=False):
        if fails:
            raise ValueError("no")
        doubled = number * 2
        return doubled

    return inner


def test_into_a_task_and_back(ray, get, debugger, inner):
    @ray.remote
    def outer():
        breakpoint()
        ref = inner.remote(21)
        value = ray.get(ref)
        return value + 1

    ref = outer.remote()
    debugger.choose("outer")
    debugger.at_prompt("remote")
    assert "inner" in debugger.at_prompt("p 'number', number")
    assert "('number', 21)" in debugger.at_prompt("number = 100")
    debugger.at_prompt("get")
    assert "outer()" in debugger.at_prompt("p 'value', value")
    assert "('value', 200)" in debugger.at_prompt("c")
    assert get(ref) == 201
    assert "ray::" not in debugger.until_said("press enter to refresh: ")


def test_only_the_next_call_is_followed(ray, get, debugger, inner):
    @ray.remote
    def outer():
        breakpoint()
        values = ray.get([inner.remote(1), inner.remote(2)])
        return values

    ref = outer.remote()
    debugger.choose("outer")
    debugger.at_prompt("remote")
    debugger.at_prompt("p 'number', number")
    assert "('number', 1)" in debugger.at_prompt("get")
    debugger.at_prompt("p values")
    assert "[2, 4]" in debugger.at_prompt("c")
    assert get(ref) == [2, 4]
    # The function itself is as it was.
    assert get(inner.remote(3)) == 6


def test_commands_lead_through_several_tasks(ray, get, debugger, inner):
    @ray.remote
    def middle(number):
        value = ray.get(inner.remote(number))
        return value

    @ray.remote
    def outer():
        breakpoint()
        value = ray.get(middle.remote(5))
        return value

    ref = outer.remote()
    debugger.choose("outer")
    debugger.at_prompt("remote")
    assert "middle" in debugger.at_prompt("remote")
    assert "inner" in debugger.at_prompt("get")
    assert "middle" in debugger.at_prompt("get")
    assert "outer" in debugger.at_prompt("p 'value', value")
    assert "('value', 10)" in debugger.at_prompt("c")
    assert get(ref) == 10


def test_get_leads_to_the_driver(drivers, engine, cluster, debugger):
    address = cluster.address_info["gcs_address"]
    program = f"""
import whipray as ray
ray.init(address={address!r}, log_to_driver=False, runtime_env={LEGACY!r})

@ray.remote
class Counter:
    def read(self):
        breakpoint()
        return [7]

counter = Counter.remote()
value = ray.get(counter.read.remote())
print("value", value)
"""
    driver = drivers.start(program)
    debugger.choose("Counter.read")
    debugger.at_prompt("get")
    assert "ray::DRIVER" in debugger.at_prompt("value.append(8)")
    debugger.at_prompt("c")
    assert driver.finish() == 0
    assert "value [7, 8]" in driver.stdout


def test_several_results(ray, get, debugger):
    @ray.remote(num_returns=2)
    def pair():
        return 1, 2

    @ray.remote
    def outer():
        breakpoint()
        values = ray.get(pair.remote())
        return values

    ref = outer.remote()
    debugger.choose("outer")
    debugger.at_prompt("remote")
    debugger.at_prompt("get")
    debugger.at_prompt("p values")
    assert "[1, 2]" in debugger.at_prompt("c")
    assert get(ref) == [1, 2]


def test_a_generator(ray, get, debugger):
    @ray.remote
    def items():
        last = 2
        for number in range(last):
            yield number

    @ray.remote
    def outer():
        breakpoint()
        generator = items.remote()
        return [ray.get(ref) for ref in generator]

    ref = outer.remote()
    debugger.choose("outer")
    debugger.at_prompt("remote")
    assert "items" in debugger.at_prompt("n")
    debugger.at_prompt("last = 3")
    debugger.at_prompt("c")
    assert get(ref) == [0, 1, 2]


def test_nothing_is_called(ray, get, debugger, inner):
    """The command waited for ever, and a later task of the same process was followed."""

    @ray.remote
    def stops():
        breakpoint()
        return 1

    @ray.remote
    def calls():
        return ray.get(inner.remote(4))

    ref = stops.remote()
    debugger.choose("stops")
    debugger.at_prompt("remote")
    debugger.until_said("press enter to refresh: ")
    assert get(ref) == 1
    assert get(calls.remote()) == 8


def test_a_task_that_fails_has_no_result(ray, get, debugger, inner):
    @ray.remote(max_retries=0)
    def outer():
        breakpoint()
        return ray.get(inner.remote(1, fails=True))

    ref = outer.remote()
    debugger.choose("outer")
    debugger.at_prompt("remote")
    debugger.at_prompt("get")
    debugger.until_said("press enter to refresh: ")
    with pytest.raises(ValueError, match="no"):
        get(ref)


def test_enter_gives_up_the_wait(ray, get, debugger):
    @ray.remote
    def stops():
        breakpoint()
        return 3

    ref = stops.remote()
    debugger.choose("stops")
    debugger.at_prompt("get")
    debugger.until_said("for the list)...")
    debugger.say("")
    debugger.until_said("press enter to refresh: ")
    # Where it is got first there is still a stop.
    del ref


def test_the_driver_has_no_result(drivers, cluster, debugger):
    address = cluster.address_info["gcs_address"]
    program = f"""
import whipray as ray
ray.init(address={address!r}, log_to_driver=False)
ray.util.pdb.set_trace()
print("through")
"""
    driver = drivers.start(program, environment={"RAY_DEBUG": "legacy"})
    debugger.choose("ray::DRIVER")
    debugger.at_prompt("get")
    assert "nobody gets its result" in debugger.at_prompt("c")
    assert driver.finish() == 0


def test_the_command_ends_with_the_cluster(engine, tmp_path):
    folder = {"RAY_TMPDIR": str(tmp_path)}
    assert run_command("start", "--head", "--port", "0", **folder).returncode == 0
    debugger = Debugger(engine, "auto", RAY_TMPDIR=str(tmp_path))
    try:
        debugger.until_said("press enter to refresh: ")
        assert run_command("stop", **folder).returncode == 0
        debugger.say("")
        assert debugger.process.wait(GENEROUS_SECONDS) == 1
        assert "Traceback" not in debugger.output
    finally:
        debugger.end()
