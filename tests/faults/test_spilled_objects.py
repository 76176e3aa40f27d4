"""Spilled objects do not outlive their session, however it ends."""

import os
import signal

import pytest
from harness.buckets import BucketServer
from harness.waiting import until

SPILLS = """
import numpy
held = [ray.put(numpy.zeros(10 * 1024 * 1024, dtype="u1")) for _ in range(30)]
print("spilled", flush=True)
while True:
    time.sleep(0.05)
"""

STORE = 100 * 1024 * 1024


READER_DIES = """
import numpy
held = [ray.put(numpy.zeros(10 * 1024 * 1024, dtype="u1")) for _ in range(30)]

@ray.remote(max_retries=0)
def read(value):
    print("reads", os.getpid(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

try:
    ray.get(read.remote(held[0]), timeout=60)
except ray.exceptions.WorkerCrashedError:
    print("died", flush=True)
while True:
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def server(nothing_left_behind, tmp_path_factory):
    server = BucketServer(tmp_path_factory.mktemp("buckets"))
    yield server
    server.end()


@pytest.fixture
def bucket(server, monkeypatch, request):
    """A bucket with nothing in it, which the drivers of this test find."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    name = request.node.name.replace("_", "-")
    server.make(name)
    return name


def folders(directory):
    return list(directory.iterdir()) if directory.exists() else []


def test_driver_is_killed(start, tmp_path):
    directory = tmp_path / "spilled"
    running = start(SPILLS, object_store_memory=STORE, object_spilling_directory=str(directory))
    running.driver.until_printed("spilled")
    assert folders(directory)
    running.driver.send(signal.SIGKILL)
    running.until_all_gone()
    assert not folders(directory)


def test_daemon_is_killed(start, tmp_path):
    """What it left is removed by the next one that is told the directory, and only that."""
    directory = tmp_path / "spilled"
    running = start(SPILLS, object_store_memory=STORE, object_spilling_directory=str(directory))
    running.driver.until_printed("spilled")
    os.kill(running.daemon.pid, signal.SIGKILL)
    running.driver.send(signal.SIGKILL)
    running.until_all_gone()
    assert len(folders(directory)) == 1
    (directory / "of_somebody_else").mkdir()
    running = start("time.sleep(60)\n", object_spilling_directory=str(directory))
    until(lambda: len(folders(directory)) == 1, "the folder of the dead session is removed")
    assert folders(directory)[0].name == "of_somebody_else"
    running.driver.send(signal.SIGKILL)
    running.until_all_gone()


def test_driver_with_a_bucket_is_killed(start, server, bucket):
    place = f"s3://{bucket}/path"
    running = start(SPILLS, object_store_memory=STORE, object_spilling_directory=place)
    running.driver.until_printed("spilled")
    assert server.keys(bucket)
    running.driver.send(signal.SIGKILL)
    running.until_all_gone()
    assert server.keys(bucket) == []


def test_reader_of_a_fetched_object_is_killed(start, bucket, tmp_path):
    """The file that the object came into is nobody's any more."""
    running = start(
        READER_DIES,
        object_store_memory=STORE,
        object_spilling_directory=f"s3://{bucket}",
        _temp_dir=str(tmp_path / "temporary"),
    )
    running.driver.until_printed("died")

    def fetched():
        found = (tmp_path / "temporary").rglob("whipray_spilled_*/*")
        return [path for path in found if path.name != "lock"]

    until(lambda: not fetched(), "what a dead process has read is removed")
    running.driver.send(signal.SIGKILL)
    running.until_all_gone()
