"""`whipray list`, `whipray get`, `whipray summary`, `whipray logs`."""

import json

import pytest
from harness.engine import START_HEAD

SOURCE = """
import os
import whipray as ray

ray.init(address="auto", namespace="space")


@ray.remote
class Keeper:
    def ready(self):
        print("I am ready")
        return True


for name in ("first", "second"):
    keeper = Keeper.options(name=name, lifetime="detached").remote()
    ray.get(keeper.ready.remote())
"""


@pytest.fixture
def ask(whipray, drivers):
    """Asks a cluster in which two detached actors live, and where no program runs any more."""
    assert whipray(*START_HEAD, "--num-cpus", "1").returncode == 0
    driver = drivers.start(SOURCE)
    assert driver.finish() == 0, driver.told()
    return whipray


def rows(told):
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


def test_lists(ask):
    (first, second) = sorted(
        rows(ask("list", "actors", "--format", "json")), key=lambda row: row["name"]
    )
    assert (first["name"], first["state"], first["class_name"]) == ("first", "ALIVE", "Keeper")
    # As in Ray: all columns, of which some are only filled in with --detail.
    assert first["num_restarts"] is None
    assert rows(ask("list", "actors", "--format=json", "-f", "name=second")) == [second]
    assert rows(ask("list", "actors", "--format=json", "--filter", "state!=ALIVE")) == []
    (detailed,) = rows(ask("list", "actors", "--format=json", "--detail", "--limit=1"))
    assert detailed["num_restarts"] == 0
    (node,) = rows(ask("list", "nodes", "--format=json"))
    assert node["is_head_node"] is True


def test_the_one_who_asks_is_not_shown(ask):
    for _ in range(2):
        (past,) = rows(ask("list", "jobs", "--format=json"))
        assert past["status"] == "SUCCEEDED" and past["entrypoint"].endswith("driver.py")
    assert {row["worker_type"] for row in rows(ask("list", "workers", "--format=json"))} == {
        "WORKER"
    }


def test_tables(ask):
    told = ask("list", "actors").stdout
    assert "Total: 2" in told and "ACTOR_ID" in told and "Keeper" in told
    assert ask("list", "placement_groups").stdout == "No resource in the cluster\n"
    told = ask("summary", "actors").stdout
    assert "total_actors: 2" in told and "ALIVE: 2" in told


def test_one_thing_as_yaml(ask):
    (row, _) = rows(ask("list", "actors", "--format=json"))
    lines = ask("get", "actors", row["actor_id"]).stdout.splitlines()
    assert lines[0] == "---"
    assert f"- actor_id: {row['actor_id']}" in [line.replace('"', "") for line in lines]
    assert "  state: ALIVE" in lines and lines[-1] == "..."
    told = ask("get", "actors", "00" * 16)
    assert told.returncode == 0
    assert told.stdout == f"Resource with id={'00' * 16} not found in the cluster.\n"


def test_what_is_cut_off_is_said(ask):
    told = ask("list", "actors", "--limit", "1")
    assert "Total: 1" in told.stdout and "--limit shows more" in told.stderr
    assert ask("list", "actors").stderr == ""


def test_logs(ask):
    (row, _) = rows(ask("list", "actors", "--format=json"))
    files = ask("logs", "cluster").stdout
    assert "raylet:" in files and f"-{row['pid']}.out" in files
    written = ask("logs", "actor", "--id", row["actor_id"]).stdout
    assert written.splitlines()[-1] == "I am ready"
    assert ask("logs", f"worker-*-{row['pid']}.out").stdout == written
    errors = ask("logs", "worker", "--pid", str(row["pid"]), "--err")
    assert errors.returncode == 0 and "I am ready" not in errors.stdout
    told = ask("logs", "cluster", "daemon.log", "--tail", "2").stdout
    assert len(told.splitlines()) == 2
    told = ask("logs", "cluster", "nothing.*")
    assert (told.returncode, told.stdout) == (0, "No log file has such a name.\n")
    told = ask("logs", "actor", "--id", "00" * 16)
    assert told.returncode == 1 and "There is no actor_id" in told.stderr
    told = ask("logs")
    assert told.returncode == 0 and "{cluster,actor,task,worker}" in told.stdout


THREADS = """
from concurrent.futures import ThreadPoolExecutor
from whipray import is_initialized
from whipray.util.state import list_actors

assert not is_initialized()
with ThreadPoolExecutor(8) as threads:
    print({len(found) for found in threads.map(lambda _: list_actors(), range(16))})
assert not is_initialized()
"""


def test_programs_that_are_not_connected(ask, drivers):
    """They got a cluster of their own; here each thread asks the one that runs."""
    program = drivers.start(THREADS)
    assert program.finish() == 0, program.told()
    assert program.stdout == "{2}\n"


def test_mistakes(ask):
    told = ask("list", "actors", "-f", "colour=blue")
    assert told.returncode == 1 and "column colour is not supported" in told.stderr
    told = ask("list", "actors", "-f", "colour")
    assert told.returncode == 2 and "'colour' is not COLUMN=VALUE" in told.stderr
    told = ask("list", "ghosts")
    assert told.returncode == 2 and "invalid choice: 'ghosts'" in told.stderr


def test_without_a_cluster(whipray):
    told = whipray("list", "actors")
    assert told.returncode == 1
    assert told.stderr.startswith("whipray: Could not find any running Ray instance.")
