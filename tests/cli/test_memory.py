"""`whipray memory`."""

from harness.engine import run_command

SOURCE = """
import os, time
import whipray as ray

ray.init(num_cpus=1)


@ray.remote
class Keeper:
    def keep(self, references):
        self.references = references


block = ray.put(b"x" * 300_000)
small = ray.put(7)
keeper = Keeper.remote()
done = keeper.keep.remote([block])
ray.get(done)
print("ids", block.hex(), small.hex(), flush=True)
time.sleep(600)
"""


def lines_of(identity, text):
    return [line for line in text.splitlines() if identity in line]


def test_who_holds_what(place, drivers):
    driver = drivers.start(SOURCE)
    driver.until_printed("\n")
    block, small = driver.stdout.split()[1:]
    told = run_command("memory")
    assert told.returncode == 0, told.stderr
    holders = lines_of(block, told.stdout)
    assert len(holders) == 2
    assert sum("Driver" in line and "LOCAL_REFERENCE" in line for line in holders) == 1
    assert sum("Worker" in line and "LOCAL_REFERENCE" in line for line in holders) == 1
    (line,) = lines_of(small, told.stdout)
    assert "LOCAL_REFERENCE" in line and str(driver.process.pid) in line and "disabled" in line
    assert "ACTOR_HANDLE" in told.stdout
    assert "1 objects" in told.stdout


def test_sizes_groups_and_numbers(place, drivers):
    driver = drivers.start(SOURCE, environment={"RAY_record_ref_creation_sites": "1"})
    driver.until_printed("\n")
    block, small = driver.stdout.split()[1:]
    told = run_command("memory", "--units", "KB", "--group-by", "STACK_TRACE").stdout
    assert any("292.9" in line and "KiB" in line for line in lines_of(block, told))
    assert "made at (put object) | " in told and "driver.py:<module>:" in told
    assert "(task call) | " in told
    shortest = run_command("memory", "--num-entries", "1", "--sort-by", "PID").stdout
    assert "more" in shortest
    statistics = run_command("memory", "--stats-only").stdout
    assert "Object store" in statistics and block not in statistics


def test_without_a_cluster(place):
    told = run_command("memory")
    assert told.returncode == 1
    assert "no cluster is running" in told.stderr
