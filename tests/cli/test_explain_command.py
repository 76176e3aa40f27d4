"""`whipray explain`."""

from harness.engine import run_command
from harness.waiting import until

SOURCE = """
import os, sys, time
import whipray as ray

ray.init(num_cpus=1)


@ray.remote
def held():
    time.sleep(600)


@ray.remote
class Sleeper:
    def ready(self):
        return True


sleeper = Sleeper.remote()
ray.get(sleeper.ready.remote())
first, second = held.remote(), held.remote()
print("ids", first.hex(), second.hex(), sleeper._actor_id.hex(), flush=True)
time.sleep(600)
"""


def test_what_a_running_program_waits_for(place, drivers):
    driver = drivers.start(SOURCE)
    driver.until_printed("\n")
    first, second, actor = driver.stdout.split()[1:]
    until(lambda: "RUNNING" in run_command("explain", first).stdout, "the first task runs")
    told = run_command("explain", second)
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(f"object {second}\nWAITS_FOR_TURN, for ")
    assert "held by held (pid" in told.stdout
    assert "ACTOR_ALIVE: Sleeper is alive" in run_command("explain", actor).stdout
    assert "NOT_KNOWN" in run_command("explain", "00" * 28).stdout


def test_what_is_no_id_is_refused(place, drivers):
    driver = drivers.start(SOURCE)
    driver.until_printed("\n")
    told = run_command("explain", "seven")
    assert told.returncode == 1
    assert told.stderr.startswith('whipray: "seven" is not the id of an object, a task or an actor')
