"""`whipray timeline`."""

import json
import os

from harness.engine import run_command

SOURCE = """
import time
import whipray as ray

ray.init(num_cpus=1)


@ray.remote
def traced():
    pass


ray.get(traced.remote())
print("ran", flush=True)
time.sleep(600)
"""


def test_a_file_shows_what_ran(place, drivers, tmp_path):
    driver = drivers.start(SOURCE)
    driver.until_printed("ran")
    told = run_command("timeline", TMPDIR=str(tmp_path))
    assert told.returncode == 0, told.stderr
    (name,) = (name for name in os.listdir(tmp_path) if name.startswith("ray-timeline-"))
    assert f"Trace file written to {tmp_path / name}." in told.stdout
    events = json.loads((tmp_path / name).read_text())
    assert [event["cat"] for event in events] == ["task::traced"]


def test_a_folder_that_cannot_be_written_to(place, drivers):
    driver = drivers.start(SOURCE)
    driver.until_printed("ran")
    told = run_command("timeline", TMPDIR="/proc/nowhere")
    assert told.returncode == 1
    assert told.stderr.startswith("whipray: cannot write /proc/nowhere/ray-timeline-")


def test_without_a_cluster(place):
    told = run_command("timeline")
    assert told.returncode == 1
    assert "no cluster is running" in told.stderr
