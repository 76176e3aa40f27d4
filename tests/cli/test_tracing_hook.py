"""`start --tracing-startup-hook`: every program of the cluster is traced."""

import pytest
from harness.engine import START_HEAD
from harness.waiting import until

pytest.importorskip("opentelemetry.sdk")

HOOK = """
import os

def set_up():
    open(f"{folder}/{{os.getpid()}}", "w").close()
"""

PROGRAM = """
import os
import whipray as ray
ray.init("auto")

@ray.remote
def process():
    return os.getpid()

print(os.getpid(), ray.get(process.remote()))
"""


def test_hook_of_a_cluster(whipray, drivers, tmp_path, monkeypatch):
    (tmp_path / "tracing_hook_of_start.py").write_text(HOOK.format(folder=tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    started = whipray(*START_HEAD, "--tracing-startup-hook", "tracing_hook_of_start:set_up")
    assert started.returncode == 0, started.stderr
    driver = drivers.run(PROGRAM)
    for process in driver.stdout.split():
        until((tmp_path / process).exists, f"the hook ran in process {process}")
