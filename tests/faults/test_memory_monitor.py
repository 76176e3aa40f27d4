"""The machine runs out of memory: who ends, who hears why, and what runs again."""

import re

from harness.driver import Driver, Drivers

MIB = 1024 * 1024
LIMIT = {
    "WHIPRAY_MEMORY_LIMIT_BYTES": str(600 * MIB),
    "RAY_memory_monitor_refresh_ms": "20",
    "RAY_task_oom_retry_delay_base_ms": "50",
}
"""A node whose workers may use 600 MiB together: no test needs a machine that is really full."""

PROLOGUE = """
import os, time
import whipray as ray
from whipray.exceptions import OutOfMemoryError

MIB = 1024 * 1024
ray.init(num_cpus=3)


def hold(size_bytes):
    block = bytearray(size_bytes)
    block[::4096] = b"x" * len(block[::4096])
    return block


@ray.remote(max_retries=0)
def greedy(size_bytes, seconds=60):
    block = hold(size_bytes)
    time.sleep(seconds)
    return len(block)
"""


def run(drivers: Drivers, source: str, **environment: str) -> Driver:
    return drivers.run(PROLOGUE + source, environment={**LIMIT, **environment})


def test_the_culprit_ends_and_the_error_says_everything(drivers):
    driver = run(
        drivers,
        """
modest = greedy.options(memory=300 * MIB).remote(200 * MIB, 5)
try:
    ray.get(greedy.remote(500 * MIB), timeout=60)
except OutOfMemoryError as error:
    print(error)
print("modest", ray.get(modest, timeout=60) == 200 * MIB)
""",
    )
    told = driver.stdout
    assert re.search(
        r"The task greedy failed: .*killed for its memory: the workers of the node", told
    )
    assert re.search(r"of 600\.0 MiB \(\d+\.\d%, the threshold is 95\.0%\)", told)
    assert re.search(r"greedy \(pid \d+\) was furthest above its own request: it used", told)
    assert "had not asked for any (memory=)" in told
    assert re.search(r"MiB  greedy \(pid \d+\), asked for 300\.0 MiB", told), "the top consumers"
    assert "RAY_memory_usage_threshold" in told
    assert "modest True" in told, "whoever keeps to its request goes on"
    assert "a worker process is ended" in driver.stderr, "the driver hears of it at once"


def test_a_retried_task_succeeds_once_there_is_memory(drivers, tmp_path):
    driver = run(
        drivers,
        f"""
attempts = {str(tmp_path / "attempts")!r}

@ray.remote
def second_time():
    with open(attempts, "a") as file:
        file.write("x")
    if os.path.getsize(attempts) < 3:
        hold(700 * MIB)
        time.sleep(60)
    return "survived"

print(ray.get(second_time.remote(), timeout=60))
""",
    )
    assert "survived" in driver.stdout
    assert (tmp_path / "attempts").read_text() == "xxx"


def test_the_end_of_the_retries_is_an_error(drivers):
    driver = run(
        drivers,
        """
try:
    ray.get(greedy.options(max_retries=5).remote(700 * MIB), timeout=60)
except OutOfMemoryError as error:
    print(error)
""",
        RAY_task_oom_retries="2",
    )
    assert "It was tried again 2 times for want of memory" in driver.stdout


def test_calls_of_an_actor_that_was_ended_say_so(drivers):
    driver = run(
        drivers,
        """
@ray.remote
class Hoarder:
    def grow(self):
        self.block = hold(700 * MIB)
        time.sleep(60)

hoarder = Hoarder.remote()
try:
    ray.get(hoarder.grow.remote(), timeout=60)
except OutOfMemoryError as error:
    print(error)
""",
    )
    assert "The actor Hoarder" in driver.stdout
    assert "furthest above its own request" in driver.stdout


def test_the_driver_is_never_ended(drivers):
    driver = run(
        drivers,
        """
block = hold(700 * MIB)
print(ray.get(greedy.options(max_retries=0).remote(MIB, 1), timeout=60))
""",
    )
    assert driver.stdout.strip() == str(MIB)


def test_it_can_be_turned_off(drivers):
    driver = run(
        drivers,
        """
print(ray.get(greedy.remote(700 * MIB, 0.5), timeout=60))
""",
        RAY_memory_monitor_refresh_ms="0",
    )
    assert driver.stdout.strip() == str(700 * MIB)
