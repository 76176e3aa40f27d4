"""Measurements at the limits of one machine: many arguments, many objects, many queued tasks.

Runs in an engine's process; each measurement takes the engine module in an open session and returns
its figures by name, in the unit that the name says, else in seconds.
"""

from __future__ import annotations

import mmap
import os
import statistics
import time
from typing import Any, Callable

ARGUMENTS = 10_000
RETURNS = 3_000
PUTS = 10_000
PUT_BYTES = 128 * 1024
QUEUED_TASKS = 100_000
MILLION = 1_000_000
IDLE_ACTORS = 50
ALTERNATIONS = 3
TASKS_BESIDE_ACTORS = 20_000


def _noop(engine: Any) -> Any:
    @engine.remote
    def noop(*arguments: object) -> None:
        return None

    return noop


def many_arguments(engine: Any) -> dict[str, float]:
    """One task that takes 10,000 objects."""
    noop = _noop(engine)
    engine.get(noop.remote())
    references = [engine.put(i) for i in range(ARGUMENTS)]
    start = time.perf_counter()
    engine.get(noop.remote(*references))
    return {"one task with 10,000 object arguments": time.perf_counter() - start}


def many_returns(engine: Any) -> dict[str, float]:
    """One task that returns 3,000 objects."""

    @engine.remote(num_returns=RETURNS)
    def many() -> list[int]:
        return list(range(RETURNS))

    engine.get(_noop(engine).remote())
    start = time.perf_counter()
    engine.get(many.remote())
    return {"one task that returns 3,000 objects": time.perf_counter() - start}


def _have_memory_backed(size_bytes: int) -> None:
    """Has a virtual machine get its memory before the measurement, which is then of the engine.

    A hypervisor that hands out pages at their first use takes seconds for each gigabyte.
    """
    with mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        for page in range(0, size_bytes, mmap.PAGESIZE):
            memory[page] = 1


def many_objects(engine: Any) -> dict[str, float]:
    """10,000 arrays of 128 KiB, put one after another and got together, and the same got as bytes,
    which Python can only copy."""
    import numpy

    _have_memory_backed(2 * PUTS * PUT_BYTES)
    value = numpy.zeros(PUT_BYTES, dtype=numpy.uint8)
    start = time.perf_counter()
    references = [engine.put(value) for _ in range(PUTS)]
    put = time.perf_counter()
    engine.get(references)
    figures = {
        "10,000 puts of 128 KiB": put - start,
        "one get of 10,000 arrays of 128 KiB": time.perf_counter() - put,
    }
    references = [engine.put(bytes(PUT_BYTES)) for _ in range(PUTS)]
    start = time.perf_counter()
    engine.get(references)
    figures["one get of 10,000 `bytes` of 128 KiB"] = time.perf_counter() - start
    return figures


def many_tasks(engine: Any) -> dict[str, float]:
    """100,000 no-op tasks in the queue at once."""
    noop = _noop(engine)
    engine.get(noop.remote())
    start = time.perf_counter()
    references = [noop.remote() for _ in range(QUEUED_TASKS)]
    submitted = time.perf_counter()
    engine.get(references)
    return {
        "100,000 queued tasks, all submitted": submitted - start,
        "100,000 queued tasks, all done": time.perf_counter() - start,
    }


def a_million_tasks(engine: Any) -> dict[str, float]:
    """1,000,000 no-op tasks in the queue at once, and what the driver needs for each."""
    noop = _noop(engine)
    engine.get(noop.remote())
    before = _resident_bytes()
    start = time.perf_counter()
    references = [noop.remote() for _ in range(MILLION)]
    peak = _resident_bytes()
    engine.get(references)
    done = time.perf_counter()
    peak = max(peak, _resident_bytes())
    return {
        "1,000,000 queued tasks, all done": done - start,
        "1,000,000 queued tasks, kilobytes of the driver for each": (peak - before) / MILLION / 1e3,
    }


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def tasks_beside_idle_actors(engine: Any) -> dict[str, float]:
    """20,000 no-op tasks with and without 50 idle actors around, in turn."""
    noop = _noop(engine)

    class Idle:
        def ready(self) -> None:
            return None

    actor_class = engine.remote(num_cpus=0)(Idle)
    alone, beside = [], []
    for _ in range(ALTERNATIONS):
        alone.append(_tasks_per_second(engine, noop))
        actors = [actor_class.remote() for _ in range(IDLE_ACTORS)]
        engine.get([actor.ready.remote() for actor in actors])
        beside.append(_tasks_per_second(engine, noop))
        for actor in actors:
            engine.kill(actor)
    figures = statistics.median(alone), statistics.median(beside)
    return {
        "20,000 tasks per second": figures[0],
        "20,000 tasks per second beside 50 idle actors": figures[1],
        "20,000 tasks: the speed beside 50 idle actors, of that without": figures[1] / figures[0],
    }


def _tasks_per_second(engine: Any, noop: Any) -> float:
    engine.get([noop.remote() for _ in range(1000)])
    start = time.perf_counter()
    engine.get([noop.remote() for _ in range(TASKS_BESIDE_ACTORS)])
    return TASKS_BESIDE_ACTORS / (time.perf_counter() - start)


MEASUREMENTS: dict[str, Callable[[Any], dict[str, float]]] = {
    "many arguments": many_arguments,
    "many returns": many_returns,
    "many objects": many_objects,
    "many tasks": many_tasks,
    "tasks beside idle actors": tasks_beside_idle_actors,
    "a million tasks": a_million_tasks,
}

OURS_ALONE = ("a million tasks",)
"""What would take Ray the better part of an hour."""
