"""Threads of actors that run several calls at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class _Group:
    """Up to ``size`` threads that take jobs from one queue; started as they are needed."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._jobs: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0

    def submit(self, job: Callable[[], object]) -> None:
        self._jobs.put(job)
        if self._idle.acquire(blocking=False) or self._started == self._size:
            return
        self._started += 1
        name = f"{self._name}-{self._started}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        while True:
            self._jobs.get()()
            self._idle.release()


class ThreadGroups:
    """The concurrency groups of an actor; "" is the group of methods that name none."""

    def __init__(self, sizes: dict[str, int], default_size: int) -> None:
        """``sizes`` gives the number of threads of each named group."""
        self._groups = {name: _Group(name, size) for name, size in sizes.items()}
        self._groups.setdefault("", _Group("actor", max(1, default_size)))

    def submit(self, job: Callable[[], object], group: str) -> None:
        """Run a job on a thread of the group. Only one thread may call this."""
        self._groups[group if group in self._groups else ""].submit(job)
