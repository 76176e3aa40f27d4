"""Object stores and disks of single nodes that are full."""

import os
import subprocess

import pytest

MIB = 1024 * 1024

PROLOGUE = """
import os, time
import numpy
import whipray as ray
ray.init(address=os.environ["CLUSTER"], log_to_driver=False)
MIB = 1024 * 1024


@ray.remote(num_cpus=0)
def make(number, size):
    return numpy.full(size, number, dtype="u1")


@ray.remote(num_cpus=0)
def length(value):
    return len(value)


@ray.remote(num_cpus=0)
class Holder:
    def hold(self, boxed):
        self.values = ray.get(boxed)
        return len(self.values)

    def drop(self):
        self.values = None

    def read(self, boxed):
        try:
            return [int(value[0]) for value in ray.get(boxed)]
        except ray.exceptions.RayError as error:
            return type(error).__name__ + ": " + str(error)

there = {"resources": {"there": 1}}
"""


@pytest.fixture
def cluster(engine):
    """A head with plenty of room; nodes are added with as much as the test wants."""
    from whipray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "object_store_memory": 400 * MIB},
    )
    yield cluster
    cluster.shutdown()


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for 30 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={30 * MIB}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_what_does_not_fit_there_is_on_its_disk(cluster, drivers):
    cluster.add_node(num_cpus=1, resources={"there": 9}, object_store_memory=80 * MIB)
    driver = drivers.run(
        PROLOGUE
        + """
made = [make.options(**there).remote(number, 20 * MIB) for number in range(12)]
ray.wait(made, num_returns=12, timeout=60, fetch_local=False)
print("read", [int(ray.get(one, timeout=60)[-1]) for one in made])
""",
        environment={"CLUSTER": cluster.address},
    )
    assert f"read {list(range(12))}" in driver.stdout, driver.told()


def test_a_disk_that_is_full(cluster, drivers, small_disk):
    """Whoever makes too much hears so; what is there stays readable, and room is used again."""
    cluster.add_node(
        num_cpus=1,
        resources={"there": 9},
        object_store_memory=80 * MIB,
        object_spilling_directory=str(small_disk),
    )
    driver = drivers.run(
        PROLOGUE
        + """
made, failed = [], 0
for number in range(12):
    one = make.options(max_retries=0, **there).remote(number, 20 * MIB)
    try:
        ray.get(length.options(**there).remote(one), timeout=100)
        made.append((number, one))
    except (ray.exceptions.OutOfDiskError, ray.exceptions.ObjectStoreFullError) as error:
        failed += 1
        print("failed", type(error).__name__, str(error).replace(chr(10), " "))
        break
print("made", len(made) >= 3, "failed", failed)
print("read", [number == int(ray.get(one, timeout=60)[0]) for number, one in made])
one = None
made.clear()
again = make.options(**there).remote(7, 20 * MIB)
print("again", int(ray.get(again, timeout=60)[0]))
""",
        environment={"CLUSTER": cluster.address},
    )
    assert "made True failed 1" in driver.stdout, driver.told()
    assert "again 7" in driver.stdout
    assert str(small_disk) in driver.stdout or "disk" in driver.stdout.lower()


def test_a_reader_whose_store_is_held(cluster, drivers, small_disk):
    """Values that others have mapped cannot give way: the reader waits, then is told; the node goes
    on, and the same read works once there is room."""
    cluster.add_node(
        num_cpus=1,
        resources={"there": 9},
        object_store_memory=80 * MIB,
        object_spilling_directory=str(small_disk),
    )
    driver = drivers.run(
        PROLOGUE
        + """
holder = Holder.options(**there).remote()
reader = Holder.options(**there).remote()
held = [ray.put(numpy.full(20 * MIB, number, dtype="u1")) for number in range(3)]
print("held", ray.get(holder.hold.remote(held), timeout=60))
wanted = [ray.put(numpy.full(30 * MIB, 9, dtype="u1"))]
print("first", ray.get(reader.read.remote(wanted), timeout=100))
ray.get(holder.drop.remote(), timeout=60)
print("second", ray.get(reader.read.remote(wanted), timeout=60))
""",
        environment={"CLUSTER": cluster.address},
    )
    assert "held 3" in driver.stdout, driver.told()
    assert "second [9]" in driver.stdout, driver.told()


def test_two_readers_of_more_than_fits_together(cluster, drivers):
    """Room for all that a request misses is there before any of it is fetched: none of two requests
    holds what the other one needs."""
    cluster.add_node(num_cpus=2, resources={"there": 9}, object_store_memory=80 * MIB)
    driver = drivers.run(
        PROLOGUE
        + """
values = [ray.put(numpy.full(12 * MIB, number, dtype="u1")) for number in range(8)]
readers = [Holder.options(**there).remote() for _ in range(4)]
halves = [values[:4], values[4:], values[2:6], values[::2]]
for _ in range(3):
    answers = ray.get(
        [reader.read.remote(half) for reader, half in zip(readers, halves)], timeout=100
    )
print("read", answers)
""",
        environment={"CLUSTER": cluster.address},
    )
    expected = [[0, 1, 2, 3], [4, 5, 6, 7], [2, 3, 4, 5], [0, 2, 4, 6]]
    assert f"read {expected}" in driver.stdout, driver.told()


def test_copies_give_way(cluster, drivers):
    """More is read there than the store holds, one after the other, and nothing is written."""
    node = cluster.add_node(num_cpus=1, resources={"there": 9}, object_store_memory=80 * MIB)
    driver = drivers.run(
        PROLOGUE
        + """
reader = Holder.options(**there).remote()
values = [ray.put(numpy.full(20 * MIB, number, dtype="u1")) for number in range(12)]
print("read", sum((ray.get(reader.read.remote([one]), timeout=60) for one in values), []))
""",
        environment={"CLUSTER": cluster.address},
    )
    assert f"read {list(range(12))}" in driver.stdout, driver.told()
    folder = node.get_temp_dir_path()
    spilled = [
        name for _, _, names in os.walk(folder) for name in names if name.startswith("spilled")
    ]
    assert not spilled
