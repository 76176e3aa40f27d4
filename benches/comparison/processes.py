"""Which processes belong to an engine, and how much memory they hold."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

MARK_VARIABLE = "WHIPRAY_COMPARISON_MARK"
"""An environment variable that every process of one engine inherits, with a value of its own."""

SETTLE_INTERVAL_SECONDS = 0.5
SETTLED_SAMPLES = 4
SETTLED_DIFFERENCE = 0.01
MEGABYTE = 1e6


@dataclass(frozen=True)
class Footprint:
    """How many processes there are and their proportional set size together, in megabytes."""

    processes: int
    megabytes: float


def marked(mark: str, root: int) -> list[int]:
    """The live processes that carry `mark` in their environment or descend from `root`.

    `root` itself is left out. A process that dropped its environment and was adopted by another
    parent is not found.
    """
    parents = _parents()
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    waiting = [root]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found.add(child)
            waiting.append(child)
    wanted = f"{MARK_VARIABLE}={mark}".encode()
    found.update(pid for pid in parents if pid != root and wanted in _environment(pid))
    found.discard(root)
    return sorted(found)


def proportional_set_size(pid: int) -> float:
    """The proportional set size of a process in megabytes (10^6 bytes); 0 for one that ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / MEGABYTE
    return 0.0


def footprint(mark: str, root: int) -> Footprint:
    """The footprint of an engine without its driver `root`, at this moment."""
    pids = marked(mark, root)
    return Footprint(len(pids), sum(map(proportional_set_size, pids)))


def settled_footprint(mark: str, root: int, timeout: float = 15.0) -> Footprint:
    """The footprint once it has not changed for two seconds, or after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    samples: list[Footprint] = []
    while True:
        samples = [*samples[-(SETTLED_SAMPLES - 1) :], footprint(mark, root)]
        if len(samples) == SETTLED_SAMPLES and _alike(samples):
            return samples[-1]
        if time.monotonic() > deadline:
            return samples[-1]
        time.sleep(SETTLE_INTERVAL_SECONDS)


def outliving(mark: str, root: int, timeout: float) -> list[int]:
    """The processes of an engine that are still there `timeout` seconds after its driver ended."""
    deadline = time.monotonic() + timeout
    while True:
        left = marked(mark, root)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(SETTLE_INTERVAL_SECONDS / 5)


def kill(pids: list[int]) -> None:
    """Kills these processes; those that already ended do not matter."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _alike(samples: list[Footprint]) -> bool:
    least = min(sample.megabytes for sample in samples)
    most = max(sample.megabytes for sample in samples)
    same_number = len({sample.processes for sample in samples}) == 1
    return same_number and most - least <= SETTLED_DIFFERENCE * most


def _parents() -> dict[int, int]:
    """Parent of every live process of the machine; zombies are left out."""
    parents = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            text = Path("/proc", entry, "stat").read_text()
        except OSError:
            continue
        # The command, in parentheses, may hold spaces and parentheses itself.
        state, parent = text.rpartition(")")[2].split()[:2]
        if state != "Z":
            parents[int(entry)] = int(parent)
    return parents


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
