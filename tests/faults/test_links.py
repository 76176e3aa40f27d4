"""Links between machines that are cut, healed, slow or lossy, while work goes on."""

import os
import time

import pytest
from harness.waiting import until
from harness.workload import SOURCE

SECONDS_OF_A_SHORT_CUT = 5.0

SOON_DEAD = {"health_check_period_ms": 1000, "health_check_failure_threshold": 4}
"""Silence of 4 s is death."""

WAIT_FOR_EVER = """
import os, sys, time
import whipray as ray
ray.init(address="auto", log_to_driver=False)


@ray.remote(num_cpus=0)
class Actor:
    def process(self):
        return os.getpid()

    def wait(self):
        time.sleep(3600)


actors = [Actor.options(resources={f"machine{index}": 1}).remote() for index in range(3)]
print("actors", *ray.get([actor.process.remote() for actor in actors], timeout=60))
print("ready", flush=True)
try:
    ray.get([actor.wait.remote() for actor in actors])
except ray.exceptions.RayError as error:
    print("heard", type(error).__name__, str(error).replace(chr(10), " "), flush=True)
"""


def is_there(process):
    return os.path.exists(f"/proc/{process}")


@pytest.mark.parametrize(
    ("cut", "driver_on"),
    [(1, 0), (0, 1), (1, 1)],
    ids=["of a node", "of the head", "of the driver"],
)
def test_a_link_is_cut_for_seconds(machines, workload, cut, driver_on):
    """Nothing is lost, nothing runs twice, and nobody counts as dead."""
    cluster = machines(3)
    cluster.start()
    before = cluster.until_members(3)
    work = workload(tasks=1000, pause=0.01)
    driver = cluster.driver(driver_on, SOURCE, arguments=work.arguments)
    driver.until_printed("ready")
    cluster.network.cut(cluster[cut].host)
    time.sleep(SECONDS_OF_A_SHORT_CUT)  # The length of the fault, not a wait for anything.
    cluster.network.heal(cluster[cut].host)
    work.require_all_once(driver)
    assert cluster.until_members(3) == before, cluster.told()


def test_a_link_is_cut_for_long(machines, workload):
    """The node is given up and its work done elsewhere; it ends what it had, and comes back."""
    cluster = machines(3)
    cluster.start(SOON_DEAD)
    before = cluster.until_members(3)
    work = workload(tasks=1000, pause=0.01)
    driver = cluster.driver(0, SOURCE, arguments=work.arguments)
    driver.until_printed("ready")
    lost = cluster[2].host
    processes = set(lost.processes()) - {cluster[2].daemon}
    assert processes
    cluster.network.cut(lost)
    without = cluster.until_members(2)
    assert lost.address not in without.values()
    # It has fenced itself before it was given up.
    until(
        lambda: not any(map(is_there, processes)),
        f"the processes of the lost node are gone: {processes}",
    )
    work.require_all(driver)
    cluster.network.heal(lost)
    after = cluster.until_members(3)
    assert set(without) < set(after)
    assert set(after) != set(before), "a node that was given up has come back under its old name"


def test_a_driver_is_cut_off(machines):
    """Its machine leaves the cluster: the driver hears so, and its actors elsewhere end."""
    cluster = machines(3)
    cluster.start(SOON_DEAD)
    cluster.until_members(3)
    driver = cluster.driver(1, WAIT_FOR_EVER)
    driver.until_printed("ready")
    (line,) = [line for line in driver.stdout.splitlines() if line.startswith("actors")]
    actors = line.split()[1:]
    cluster.network.cut(cluster[1].host)
    driver.until_printed("heard")
    assert driver.finish() == 0, driver.told()
    until(lambda: not any(map(is_there, actors)), f"the actors of the driver end: {actors}")
    cluster.network.heal(cluster[1].host)
    cluster.until_members(3)


def test_a_link_that_flaps(machines, workload):
    cluster = machines(2)
    cluster.start()
    before = cluster.until_members(2)
    work = workload(tasks=600, pause=0.01)
    driver = cluster.driver(0, SOURCE, arguments=work.arguments)
    driver.until_printed("ready")
    for _ in range(4):
        cluster.network.cut(cluster[1].host)
        time.sleep(0.4)  # Of cuts and of the times between them: the fault itself.
        cluster.network.heal(cluster[1].host)
        time.sleep(0.4)
    work.require_all_once(driver)
    assert cluster.until_members(2) == before


def test_a_slow_link_with_losses(machines, workload):
    from harness import network

    reason = network.why_not_slow()
    if reason is not None:
        pytest.skip(reason)
    cluster = machines(2, slow=[1])
    cluster.network.delay(cluster[1].host, milliseconds=25, loss=0.01)
    cluster.start()
    before = cluster.until_members(2)
    work = workload(tasks=400, pause=0.01)
    driver = cluster.driver(0, SOURCE, arguments=work.arguments)
    work.require_all_once(driver)
    assert cluster.until_members(2) == before


# ---- the head -----------------------------------------------------------------------------------


def require_end_of_all(cluster, drivers):
    """Drivers say what happened, and nothing runs on any machine but, maybe, them."""
    for driver in drivers:
        driver.until_printed("heard")
        assert driver.finish() == 0, driver.told()
        (line,) = [line for line in driver.stdout.splitlines() if line.startswith("heard")]
        assert cluster.address in line, line
        assert "Traceback" not in driver.stderr
    for machine in cluster.machines[1:]:
        host = machine.host
        until(lambda host=host: not host.processes(), f"nothing runs on {host.name}")


def test_the_head_is_killed(machines):
    cluster = machines(3)
    cluster.start()
    cluster.until_members(3)
    drivers = [cluster.driver(index, WAIT_FOR_EVER, name=f"{index}.py") for index in (1, 2)]
    for driver in drivers:
        driver.until_printed("ready")
    os.kill(cluster.head.daemon, 9)
    require_end_of_all(cluster, drivers)
    until(lambda: not cluster.head.host.processes(), "nothing runs on the head's machine")


def test_the_machine_of_the_head_loses_power(machines):
    """Nobody is left there who could say that nobody listens."""
    cluster = machines(2)
    cluster.start(SOON_DEAD)
    cluster.until_members(2)
    source = WAIT_FOR_EVER.replace("range(3)", "range(2)")
    driver = cluster.driver(1, source)
    driver.until_printed("ready")
    cluster.network.cut(cluster.head.host)
    cluster.head.host.kill_all()
    driver.until_printed("heard")
    assert driver.finish() == 0, driver.told()


def test_stop_on_the_head_ends_the_cluster(machines):
    cluster = machines(3)
    cluster.start()
    cluster.until_members(3)
    done = cluster.head.command("stop")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Stopped the cluster at "), done.stdout
    for machine in cluster.machines:
        host = machine.host
        until(lambda host=host: not host.processes(), f"nothing runs on {host.name}")


def test_stop_on_a_node_takes_it_away(machines):
    cluster = machines(3)
    cluster.start()
    cluster.until_members(3)
    done = cluster[2].command("stop")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("This machine has left the cluster at "), done.stdout
    members = cluster.until_members(2)
    assert set(members.values()) == {cluster[0].host.address, cluster[1].host.address}
    until(lambda: not cluster[2].host.processes(), "nothing runs there")
