"""Whipray beside what a user would reach for instead: the standard library's pools, a bare pipe.

    python benches/alternatives.py [--seconds 1]

The tasks do nothing, so that the figures are the price of a call. All is measured in one run,
in short alternating rounds, with one worker per CPU; only the shares count.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Callable

BATCH = 1000
ROUNDS = 5
WORKERS = os.cpu_count() or 1


def small_value(_: object = None) -> bytes:
    """The task."""
    return b"ok"


@dataclass(frozen=True)
class Side:
    """What is repeated, and how many operations that is."""

    repeat: Callable[[], object]
    operations: int = 1

    def rate(self, seconds: float) -> float:
        """Operations per second in one round."""
        count = 0
        start = time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            self.repeat()
            count += self.operations
        return count / elapsed


@dataclass(frozen=True)
class Contest:
    """One line of the table: ours against theirs, and the share of their speed that is the goal."""

    what: str
    against: str
    ours: Side
    theirs: Side
    goal: float


@contextmanager
def echoing_process() -> Iterator[Connection]:
    """A process at the other end of a pipe that answers every message."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_echo, args=(theirs, ours), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join()


def _echo(connection: Connection, other_end: Connection) -> None:
    # A forked process holds the other end as well, and would never see it close.
    other_end.close()
    while True:
        try:
            connection.recv()
        except EOFError:
            return
        connection.send(b"ok")


def contests(stack: ExitStack) -> list[Contest]:
    """Everything started; `stack` ends it."""
    # What is forked comes first: a fork after a start would inherit threads.
    executor = stack.enter_context(ProcessPoolExecutor(WORKERS))
    executor.submit(small_value).result()
    pool = stack.enter_context(multiprocessing.Pool(WORKERS))
    pipe = stack.enter_context(echoing_process())

    import whipray as ray
    from whipray.util.multiprocessing import Pool

    ray.init(num_cpus=WORKERS, log_to_driver=False)
    stack.callback(ray.shutdown)
    our_pool = stack.enter_context(Pool(WORKERS))
    task = ray.remote(small_value)

    @ray.remote(num_cpus=0)
    class Server:
        def small_value(self) -> bytes:
            return b"ok"

    actor: Any = Server.remote()

    def futures() -> None:
        for future in [executor.submit(small_value) for _ in range(BATCH)]:
            future.result()

    def one_message() -> None:
        pipe.send(None)
        pipe.recv()

    def mapped(which: Any, items: int, chunksize: int | None) -> Side:
        return Side(lambda: which.map(small_value, range(items), chunksize=chunksize), items)

    batch = Side(lambda: ray.get([task.remote() for _ in range(BATCH)]), BATCH)
    made = [
        Contest(
            "tasks, one at a time",
            "concurrent.futures.ProcessPoolExecutor",
            Side(lambda: ray.get(task.remote())),
            Side(lambda: executor.submit(small_value).result()),
            1.0,
        ),
        Contest(
            f"tasks, {BATCH:,} at once",
            "concurrent.futures.ProcessPoolExecutor",
            batch,
            Side(futures, BATCH),
            1.0,
        ),
        Contest(
            f"tasks, {BATCH:,} at once",
            "multiprocessing.Pool.map(chunksize=1)",
            batch,
            mapped(pool, BATCH, 1),
            1 / 1.5,
        ),
        Contest(
            "a call of an actor",
            "a bare multiprocessing.Pipe",
            Side(lambda: ray.get(actor.small_value.remote())),
            Side(one_message),
            0.5,
        ),
        Contest(
            "Pool.apply",
            "multiprocessing.Pool.apply",
            Side(lambda: our_pool.apply(small_value)),
            Side(lambda: pool.apply(small_value)),
            1.0,
        ),
    ]
    for items, chunksize in ((BATCH, 1), (BATCH, 10), (BATCH, None), (100 * BATCH, None)):
        chunks = "chunks by default" if chunksize is None else f"chunks of {chunksize}"
        made.append(
            Contest(
                f"Pool.map, {items:,} items, {chunks}",
                "multiprocessing.Pool.map",
                mapped(our_pool, items, chunksize),
                mapped(pool, items, chunksize),
                1.0,
            )
        )
    return made


def measure(contest: Contest, seconds: float) -> tuple[float, float]:
    """Median rates of both sides, after a round that is not counted."""
    ours, theirs = [], []
    for number in range(ROUNDS + 1):
        rates = contest.ours.rate(seconds), contest.theirs.rate(seconds)
        if number > 0:
            ours.append(rates[0])
            theirs.append(rates[1])
    return statistics.median(ours), statistics.median(theirs)


def main() -> int:
    """Prints the table, or one JSON object with `--json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a round")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if options.seconds <= 0:
        parser.error("--seconds must be positive")
    with ExitStack() as stack:
        made = contests(stack)
        measured = [(contest, *measure(contest, options.seconds)) for contest in made]
    if options.json:
        keys = ("what", "against", "ours", "theirs")
        rows = [(contest.what, contest.against, *rates) for contest, *rates in measured]
        print(json.dumps([dict(zip(keys, row)) for row in rows]))
        return 0
    print("| what | Whipray | the other | against | share | goal | met |")
    print("| --- | ---: | ---: | --- | ---: | --- | --- |")
    for contest, ours, theirs in measured:
        share = ours / theirs
        met = "yes" if share >= contest.goal else "**no**"
        print(
            f"| {contest.what} | {ours:,.0f} /s | {theirs:,.0f} /s | {contest.against} "
            f"| {share:.2f}x | ≥ {contest.goal:.2f}x | {met} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
