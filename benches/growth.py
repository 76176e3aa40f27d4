"""How the cost of a call grows with the number of references: microseconds per reference.

    python benches/growth.py [--most 1000000] [--json]

Work that is proportional to the number of references shows as columns of equal figures. `drain` is
the loop `while refs: done, refs = wait(refs)`, which takes one reference at a time: its API alone
costs a copy of the list for each, so that its figure is per reference *and* reference of the list,
in nanoseconds, beside that of a bare copy of the list.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import whipray as ray

DRAINED_AT_MOST = 10_000
"""The loop is quadratic for everybody: more would only take long."""


def resident_bytes() -> int:
    """Memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def timed(operation: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and the result."""
    start = time.perf_counter()
    result = operation()
    return time.perf_counter() - start, result


def per_reference(count: int, task: Any) -> dict[str, float]:
    """Microseconds per reference of every operation on `count` references."""
    gc.collect()
    before = resident_bytes()
    submit, references = timed(lambda: [task.remote() for _ in range(count)])
    queued = resident_bytes()
    wait_all, _ = timed(lambda: ray.wait(references, num_returns=count))
    held = resident_bytes()
    wait_one, _ = timed(lambda: ray.wait(references, num_returns=1))
    get, _ = timed(lambda: ray.get(references))
    drop, _ = timed(references.clear)
    figures = {
        "submit": submit,
        "wait for all": wait_all,
        "wait for one": wait_one,
        "get": get,
        "drop": drop,
    }
    rates = {name: seconds / count * 1e6 for name, seconds in figures.items()}
    rates["queued bytes"] = (queued - before) / count
    rates["held bytes"] = (held - before) / count
    return rates


def drain(count: int, task: Any) -> dict[str, float]:
    """Nanoseconds per reference and reference of the list, of the loop and of copies alone."""
    references = [task.remote() for _ in range(count)]
    ray.wait(references, num_returns=count)

    def loop() -> None:
        left = references
        while left:
            _, left = ray.wait(left)

    def copies() -> None:
        left = references
        while left:
            left = left[1:]

    scale = count * count / 2 / 1e9
    return {"drain": timed(loop)[0] / scale, "copies": timed(copies)[0] / scale}


def actors(counts: list[int]) -> dict[int, float]:
    """Milliseconds for each of ten more actors, created and called, beside so many that live."""

    @ray.remote(num_cpus=0)
    class Idle:
        def ready(self) -> None:
            pass

    living: list[Any] = []
    figures = {}
    for count in counts:
        living += [Idle.remote() for _ in range(count - len(living))]
        ray.get([actor.ready.remote() for actor in living])

        def ten() -> None:
            more = [Idle.remote() for _ in range(10)]
            ray.get([actor.ready.remote() for actor in more])

        figures[count] = min(timed(ten)[0] for _ in range(3)) / 10 * 1e3
    return figures


def main() -> int:
    """Prints the tables, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=1_000_000, help="references (default: 1e6)")
    parser.add_argument("--actors", type=int, default=100, help="actors (default: 100)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    ray.init(num_cpus=os.cpu_count(), log_to_driver=False)

    @ray.remote
    def small_value() -> bytes:
        return b"ok"

    ray.get([small_value.remote() for _ in range(1000)])
    decades = [10**power for power in range(2, 7) if 10**power <= options.most]
    measured = {
        "references": {count: per_reference(count, small_value) for count in decades},
        "drain": {
            count: drain(count, small_value) for count in decades if count <= DRAINED_AT_MOST
        },
        "actors": actors([count for count in (1, 10, 100, 1000) if count <= options.actors]),
    }
    ray.shutdown()
    if options.json:
        print(json.dumps(measured))
        return 0
    print("microseconds per reference; bytes of the driver per reference")
    table(measured["references"])
    print("\nnanoseconds per reference and reference of the list")
    table(measured["drain"])
    print("\nmilliseconds for one more actor, created and called")
    for count, milliseconds in measured["actors"].items():
        print(f"| beside {count:,} | {milliseconds:.2f} |")
    return 0


def table(figures: dict[int, dict[str, float]]) -> None:
    """Prints a row for each operation, a column for each count."""
    counts = list(figures)
    print("| | " + " | ".join(f"{count:,}" for count in counts) + " |")
    print("| --- |" + " ---: |" * len(counts))
    for name in figures[counts[0]]:
        print(f"| {name} | " + " | ".join(f"{figures[count][name]:.3g}" for count in counts) + " |")


if __name__ == "__main__":
    sys.exit(main())
