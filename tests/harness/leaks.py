"""What a module of tests must not leave behind."""

import os
from collections import Counter
from typing import Dict, List, Set

from harness import processes
from harness.waiting import until

_SHARED_MEMORY = "/dev/shm"


def _shared_memory_entries() -> Set[str]:
    return {name for name in os.listdir(_SHARED_MEMORY) if "whipray" in name}


def _sockets_of(pid: int) -> Set[str]:
    """Inode numbers of the sockets that a process holds open."""
    inodes = set()
    try:
        for entry in os.listdir(f"/proc/{pid}/fd"):
            target = os.readlink(f"/proc/{pid}/fd/{entry}")
            if target.startswith("socket:["):
                inodes.add(target[len("socket:[") : -1])
    except OSError:
        pass  # The process, or the descriptor, went away while it was being read.
    return inodes


def _named_sockets() -> Dict[str, str]:
    """Inode number to name of every Unix socket whose name says that it is ours."""
    found = {}
    with open("/proc/net/unix") as file:
        for line in file:
            fields = line.split()
            if len(fields) > 7 and "whipray" in fields[7]:
                found[fields[6]] = fields[7]
    return found


def own_sockets() -> List[str]:
    """Names of our Unix sockets that this run of the tests still holds open."""
    named = _named_sockets()
    if not named:
        return []
    held = set(_sockets_of(os.getpid()))
    for process in processes.of_this_run():
        held |= _sockets_of(process.pid)
    return sorted(name for inode, name in named.items() if inode in held)


def _descriptors() -> Counter:
    """Kinds of the open descriptors of this process, numbers of pipes and sockets left out."""
    kinds: Counter = Counter()
    for entry in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")
        except OSError:
            continue  # The descriptor with which the folder itself was being read.
        kinds[target.split(":[")[0] if ":[" in target else target] += 1
    return kinds


class LeakCheck:
    """Remembers the state before a module and compares it with the state after it."""

    def __init__(self) -> None:
        self._shared_memory = _shared_memory_entries()
        self._descriptors = _descriptors()
        self._processes = {process.pid for process in processes.of_this_run()}
        self._sockets = Counter(own_sockets())

    def left(self) -> List[str]:
        """One line for each thing that is there now and was not before."""
        lines = []
        for process in processes.of_this_run():
            if process.pid not in self._processes:
                lines.append(f"process {process.pid}: {process.command}")
        for name in sorted(_shared_memory_entries() - self._shared_memory):
            lines.append(f"shared memory {_SHARED_MEMORY}/{name}")
        for name, count in (Counter(own_sockets()) - self._sockets).items():
            lines.append(f"{count} socket(s) {name}")
        for name, count in (_descriptors() - self._descriptors).items():
            lines.append(f"{count} descriptor(s) of this process: {name}")
        return lines

    def require_nothing_left(self) -> None:
        """Wait until nothing is left. Raises AssertionError that lists what stays."""
        try:
            until(lambda: not self.left(), "everything that the module started is gone")
        except AssertionError:
            left = "\n  ".join(self.left())
            raise AssertionError(f"the module left behind:\n  {left}") from None
