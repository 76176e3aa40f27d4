"""Spilled objects do not outlive their session, however it ends."""

import os
import signal

from harness.waiting import until

SPILLS = """
import numpy
held = [ray.put(numpy.zeros(10 * 1024 * 1024, dtype="u1")) for _ in range(30)]
print("spilled", flush=True)
while True:
    time.sleep(0.05)
"""

STORE = 100 * 1024 * 1024


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
