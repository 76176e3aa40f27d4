"""Fixtures of the fault scenarios: a driver in a process of its own, and what runs below it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, List, Sequence

import pytest
from harness import network, processes
from harness.driver import Driver, Drivers
from harness.engine import Engine
from harness.machines import Machines
from harness.processes import Process
from harness.waiting import until
from harness.workload import Workload

PROLOGUE = """
import os, signal, sys, time
{import_line}
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, **{options!r})


@ray.remote
def process():
    return os.getpid()


@ray.remote
class Actor:
    def process(self):
        return os.getpid()


actor = Actor.remote()
workers = {{ray.get(process.remote(), timeout=60), ray.get(actor.process.remote(), timeout=60)}}
print("session", ray.get_runtime_context().get_temp_dir() + "/"
      + ray.get_runtime_context().get_session_name())
print("workers", *workers)
print("ready", flush=True)
while not os.path.exists({seen!r}):
    time.sleep(0.01)
"""


def pytest_collection_modifyitems(items: list) -> None:
    """Ray promises nothing of what is asked for here."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.whipray_only)


@dataclass
class Running:
    """A driver with a started cluster, and every process that was below it when it was ready."""

    driver: Driver
    below: List[Process]
    workers: List[Process]
    session: Path

    @property
    def daemon(self) -> Process:
        return processes.daemon_of(self.below)

    @property
    def zygote(self) -> Process:
        return processes.zygote_of(self.below, {worker.pid for worker in self.workers})

    def until_all_gone(self) -> None:
        """Wait until nothing that the driver started runs, whatever it started meanwhile."""
        until(
            lambda: not processes.still_alive(self.below),
            f"all processes of the cluster end: {self.below}",
        )


@pytest.fixture
def start(engine: Engine, drivers: Drivers, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """`start(source, **options)`: a driver that has a cluster, started with these options of
    `init`, with a worker and an actor, and then runs the source."""

    def start(source: str, **options: Any) -> Running:
        seen = tmp_path / "seen"
        prologue = PROLOGUE.format(
            import_line=engine.import_lines()[0], seen=str(seen), options=options
        )
        driver = drivers.start(prologue + source)
        driver.until_printed("ready")
        told = {
            line.split()[0]: line.split()[1:]
            for line in driver.stdout.splitlines()
            if line.startswith(("session", "workers"))
        }
        below = processes.descendants(driver.process.pid)
        pids = {int(pid) for pid in told["workers"]}
        # A worker or the zygote may have another parent than the driver's daemon.
        known = {process.pid for process in below}
        below += [p for p in processes.of_this_run() if p.pid in pids and p.pid not in known]
        workers = [process for process in below if process.pid in pids]
        assert len(workers) == 2, f"the workers {pids} are not below the driver: {below}"
        seen.touch()
        return Running(driver, below, workers, Path(told["session"][0]))

    yield start


@pytest.fixture
def machines(drivers: Drivers, tmp_path: Path) -> Iterator[Callable[..., Machines]]:
    """`machines(count, slow=[...])`: machines on a network of their own, without daemons so far.
    All of it is gone after the test."""
    reason = network.why_not()
    if reason is not None:
        pytest.skip(reason)
    made: List[network.Network] = []

    def machines(count: int, slow: Sequence[int] = ()) -> Machines:
        made.append(network.Network(count, list(slow)))
        return Machines(made[-1], tmp_path, drivers)

    yield machines
    for one in made:
        one.remove()


@pytest.fixture
def workload(tmp_path: Path) -> Callable[..., Workload]:
    """`workload(tasks=..., pause=...)`"""
    return lambda tasks, pause: Workload(tmp_path, tasks, pause)
