"""Which processes belong to this run of the tests, read from /proc."""

import os
import uuid
from dataclasses import dataclass
from typing import Dict, Iterable, List, Optional, Set

RUN_VARIABLE = "WHIPRAY_TEST_RUN"
"""Every process that the tests start inherits this variable, and nobody else's process has it."""


def mark_this_run() -> None:
    """Give this process, and so all of its children, the mark of the run."""
    os.environ.setdefault(RUN_VARIABLE, uuid.uuid4().hex)


@dataclass(frozen=True)
class Process:
    """A process at the moment when it was seen; start time keeps reused ids apart."""

    pid: int
    parent: int
    state: str
    started_ticks: int
    command: str

    @property
    def alive(self) -> bool:
        """Whether it still runs: a zombie does not."""
        now = look_at(self.pid)
        return now is not None and now.started_ticks == self.started_ticks and now.state != "Z"


def look_at(pid: int) -> Optional[Process]:
    """The process with this id, or None if there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            # The name in parentheses may itself hold spaces and parentheses.
            fields = file.read().rpartition(")")[2].split()
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return None
    return Process(pid, int(fields[1]), fields[0], int(fields[19]), command)


def _all_processes() -> List[Process]:
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    return [process for process in map(look_at, pids) if process is not None]


def _carries_mark(pid: int) -> bool:
    mark = f"{RUN_VARIABLE}={os.environ[RUN_VARIABLE]}".encode()
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark in file.read().split(b"\0")
    except OSError:
        return False


def descendants(root: int) -> List[Process]:
    """Living processes below `root`, which is not part of the answer."""
    children: Dict[int, List[Process]] = {}
    for process in _all_processes():
        children.setdefault(process.parent, []).append(process)
    found: List[Process] = []
    waiting = [root]
    while waiting:
        for child in children.get(waiting.pop(), []):
            waiting.append(child.pid)
            if child.state != "Z":
                found.append(child)
    return found


def of_this_run() -> List[Process]:
    """Living processes that the tests started, without the process that runs the tests."""
    own = os.getpid()
    marked = [p for p in _all_processes() if p.pid != own and _carries_mark(p.pid)]
    found: Dict[int, Process] = {process.pid: process for process in marked}
    for process in descendants(own):
        found.setdefault(process.pid, process)
    return [process for process in found.values() if process.state != "Z"]


def still_alive(processes: Iterable[Process]) -> List[Process]:
    """Those of `processes` that still run."""
    return [process for process in processes if process.alive]


def daemon_of(processes: Iterable[Process]) -> Process:
    """The engine's daemon among `processes`. Raises AssertionError if there is none."""
    for process in processes:
        # The path of the program may hold spaces: what follows it tells.
        if "/whipray daemon " in process.command:
            return process
    raise AssertionError("no daemon runs")


def zygote_of(processes: Iterable[Process], workers: Set[int]) -> Process:
    """The template of the workers: it has the zygote's command line and runs no tasks.

    `workers` are process ids of workers, which inherit the command line when they are forked.
    Raises AssertionError if there is none.
    """
    candidates = [
        process
        for process in processes
        if "whipray._zygote" in process.command and process.pid not in workers
    ]
    if not candidates:
        raise AssertionError("no zygote runs")
    return min(candidates, key=lambda process: process.started_ticks)
