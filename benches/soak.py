"""Hours of work under faults: nothing may be lost, and nothing may grow.

    make soak MINUTES=20

Four machines, as network namespaces, make a cluster. A driver on the head works without pause:
tasks, actors, objects and placement groups, in rounds whose results are known. Every few seconds
something else fails: a worker or a daemon is killed, a daemon is frozen, a link is cut, now and
then for a minute. Printed is, each minute, what has failed, how many rounds were done, and the
memory of the daemons and of the driver. The status is 1 where a round failed, or memory was not
flat.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from harness import network, processes  # noqa: E402
from harness.driver import Driver, Drivers  # noqa: E402
from harness.machines import Machine, Machines  # noqa: E402
from harness.waiting import until  # noqa: E402

MACHINES = 4
SECONDS_BETWEEN_FAULTS = 5.0
SECONDS_BETWEEN_LOOKS = 5.0
LONG_CUT_SECONDS = 60.0
"""Longer than a node may be silent."""
ROUND_SECONDS = 240
FLAT_SHARE = 1.1
FLAT_KIB = 8 * 1024

WORK = """
import json, os, sys, time
import numpy
import whipray as ray
from whipray.util.placement_group import placement_group, remove_placement_group
from whipray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

stop, patience = sys.argv[1], float(sys.argv[2])
ray.init(address="auto", log_to_driver=False)
SPREAD = {"scheduling_strategy": "SPREAD", "max_retries": -1}


@ray.remote(**SPREAD)
def square(number):
    time.sleep(0.01)
    return number * number


@ray.remote(**SPREAD)
def make(number):
    return numpy.full(200_000, float(number))


@ray.remote(**SPREAD)
def total(*arrays):
    return [float(array.sum()) for array in arrays]


@ray.remote(**SPREAD)
def nested(number):
    return sum(ray.get([square.remote(number + step) for step in range(5)]))


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD")
class Counter:
    def __init__(self):
        self.count = 0

    def add(self):
        self.count += 1
        return self.count


@ray.remote(num_cpus=1, max_retries=-1)
def in_bundle():
    return ray.get_runtime_context().get_node_id()


def get(references):
    return ray.get(references, timeout=patience)


counters = [Counter.remote() for _ in range(4)]
number = 0
while not os.path.exists(stop):
    begin = time.monotonic()
    squares = [square.remote(n) for n in range(300)]
    calls = [counter.add.remote() for counter in counters for _ in range(20)]
    arrays = [make.remote(n) for n in range(20)]
    mine = ray.put(numpy.full(200_000, 1.0))
    sums = [total.remote(array, mine) for array in arrays]
    inner = [nested.remote(n) for n in range(10)]
    assert sum(get(squares)) == sum(n * n for n in range(300))
    assert all(count >= 1 for count in get(calls))
    assert get(sums) == [[200_000.0 * n, 200_000.0] for n in range(20)]
    assert get(inner) == [sum((n + step) ** 2 for step in range(5)) for n in range(10)]
    if number % 5 == 4:
        group = placement_group([{"CPU": 1}] * 2, strategy="STRICT_SPREAD")
        assert group.wait(patience), "the placement group is not created"
        try:
            get([
                in_bundle.options(
                    scheduling_strategy=PlacementGroupSchedulingStrategy(group, bundle)
                ).remote()
                for bundle in range(2)
            ])
        finally:
            remove_placement_group(group)
    del squares, calls, arrays, mine, sums, inner
    number += 1
    print("round", number, f"{time.monotonic() - begin:.1f}", flush=True)
print("through", number, flush=True)
"""


@dataclass
class Memory:
    """What processes had, in KiB, at each look. Objects in shared memory do not count."""

    looks: dict[str, list[int]] = field(default_factory=dict)

    def look(self, name: str, pids: list[int]) -> None:
        sizes = [size for size in map(private_kib, pids) if size is not None]
        if sizes:
            self.looks.setdefault(name, []).append(sum(sizes))

    def line(self) -> str:
        return ", ".join(
            f"{name} {sizes[-1] / 1024:.1f} MiB" for name, sizes in sorted(self.looks.items())
        )

    def grown(self) -> list[str]:
        """One line for each whose last third is above its second third."""
        lines = []
        for name, sizes in sorted(self.looks.items()):
            third = len(sizes) // 3
            if third < 3:
                continue
            before = statistics.median(sizes[third : 2 * third])
            after = statistics.median(sizes[2 * third :])
            if after > before * FLAT_SHARE and after > before + FLAT_KIB:
                lines.append(f"{name}: from {before / 1024:.1f} to {after / 1024:.1f} MiB")
        return lines


def private_kib(pid: int) -> int | None:
    """The memory of a process that is not shared with a file, its part of what forks share."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Pss_Anon:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return None


class Faults:
    """What fails, and for how long."""

    def __init__(self, cluster: Machines, seed: int) -> None:
        self._cluster = cluster
        self._random = random.Random(seed)
        self._mend: list[tuple[float, Callable[[], None]]] = []
        self._away: set[Machine] = set()
        self.done: Counter[str] = Counter()

    def strike(self) -> None:
        """One fault, on a machine that has none."""
        whole = [one for one in self._cluster.machines[1:] if one not in self._away]
        # A placement group wants two machines at all times, and the head is one of them.
        if len(whole) < 2:
            self._kill_worker(self._cluster.head)
            return
        machine = self._random.choice(whole)
        chosen = self._random.choices(
            [self._kill_worker, self._kill_daemon, self._freeze, self._cut, self._cut_for_long],
            weights=[8, 4, 3, 5, 1],
        )[0]
        chosen(machine)

    def mend(self, all_of_them: bool = False) -> None:
        """Undo those whose time is over."""
        now = time.monotonic()
        due = [entry for entry in self._mend if all_of_them or entry[0] <= now]
        self._mend = [entry for entry in self._mend if entry not in due]
        for _, undo in due:
            undo()

    def _later(self, seconds: float, machine: Machine, undo: Callable[[], None]) -> None:
        self._away.add(machine)

        def mend() -> None:
            undo()
            self._away.discard(machine)

        self._mend.append((time.monotonic() + seconds, mend))

    def _kill_worker(self, machine: Machine) -> None:
        daemon = machine.daemon
        below = processes.descendants(daemon)
        workers = [process.pid for process in below if process.parent != daemon]
        if workers:
            kill(self._random.choice(workers), signal.SIGKILL)
            self.done["workers killed"] += 1

    def _kill_daemon(self, machine: Machine) -> None:
        machine.host.kill_all()
        self.done["daemons killed"] += 1
        self._later(self._random.uniform(0, 5), machine, lambda: join(self._cluster, machine))

    def _freeze(self, machine: Machine) -> None:
        daemon = machine.daemon
        kill(daemon, signal.SIGSTOP)
        self.done["daemons frozen"] += 1
        self._later(self._random.uniform(0.2, 6), machine, lambda: kill(daemon, signal.SIGCONT))

    def _cut(self, machine: Machine) -> None:
        self._cut_for(machine, self._random.uniform(0.2, 6))
        self.done["links cut"] += 1

    def _cut_for_long(self, machine: Machine) -> None:
        self._cut_for(machine, LONG_CUT_SECONDS)
        self.done["links cut for a minute"] += 1

    def _cut_for(self, machine: Machine, seconds: float) -> None:
        self._cluster.network.cut(machine.host)
        self._later(seconds, machine, lambda: self._cluster.network.heal(machine.host))


def kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def join(cluster: Machines, machine: Machine) -> None:
    cluster.join(machine, "--num-cpus=2")


def look_at(memory: Memory, cluster: Machines, driver: Driver) -> None:
    memory.look("head", [cluster.head.daemon])
    memory.look("driver", [driver.process.pid])
    others = []
    for machine in cluster.machines[1:]:
        try:
            others.append(machine.daemon)
        except (OSError, ValueError):
            pass  # It is away.
    if len(others) == MACHINES - 1:
        memory.look("nodes", others)


def soak(cluster: Machines, minutes: float, seed: int, folder: Path) -> list[str]:
    """Run it; what is wrong."""
    cluster.start_head("--num-cpus=2")
    for machine in cluster.machines[1:]:
        join(cluster, machine)
    stop = folder / "stop"
    driver = cluster.driver(0, WORK, arguments=[str(stop), str(ROUND_SECONDS)])
    driver.until_printed("round 1")
    faults, memory = Faults(cluster, seed), Memory()
    begin = time.monotonic()
    next_fault = next_look = next_line = begin
    while time.monotonic() < begin + minutes * 60 and driver.process.poll() is None:
        now = time.monotonic()
        faults.mend()
        if now >= next_fault:
            next_fault = now + SECONDS_BETWEEN_FAULTS
            faults.strike()
        if now >= next_look:
            next_look = now + SECONDS_BETWEEN_LOOKS
            look_at(memory, cluster, driver)
        if now >= next_line:
            next_line = now + 60
            done = ", ".join(f"{count} {what}" for what, count in sorted(faults.done.items()))
            rounds = driver.stdout.count("round ")
            print(f"{(now - begin) / 60:5.1f} min  {rounds} rounds  {memory.line()}  ({done})")
        time.sleep(0.1)
    faults.mend(all_of_them=True)
    stop.touch()
    wrong = []
    code = driver.process.wait(ROUND_SECONDS + 60)
    if code != 0 or "through" not in driver.stdout:
        wrong.append(f"the driver ended with {code}: {driver.told()[-6000:]}\n{cluster.told()}")
    else:
        until(lambda: len(cluster.members()) == MACHINES, "all machines are back", 120)
    return wrong + [f"memory grows: {line}" for line in memory.grown()]


def main() -> int:
    parser = argparse.ArgumentParser(description="hours of work under faults")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=None, help="which faults, and when")
    arguments = parser.parse_args()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    reason = network.why_not()
    if reason is not None:
        print(f"no soak: {reason}", file=sys.stderr)
        return 1
    processes.mark_this_run()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    folder = Path(tempfile.mkdtemp(prefix="whipray-soak-"))
    drivers = Drivers(folder)
    print(f"seed {seed}, {arguments.minutes:g} minutes, logs in {folder}")
    with network.Network(MACHINES) as net:
        try:
            wrong = soak(Machines(net, folder, drivers), arguments.minutes, seed, folder)
        finally:
            drivers.end_all()
    for line in wrong:
        print(f"WRONG  {line}")
    if not wrong:
        print("nothing was lost, and memory is flat")
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
