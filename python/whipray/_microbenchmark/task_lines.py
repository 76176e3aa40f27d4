"""Lines about tasks: one at a time, many at a time, from several callers, and waiting for them."""

from __future__ import annotations

from typing import Any

from .line import Line, Repetition

BATCH = 1000
CALLERS = 4
TASKS_PER_CALLER = 10_000


def small_task(engine: Any) -> Any:
    """The no-op task of these lines, as a remote function of `engine`."""

    @engine.remote
    def small_value() -> bytes:
        return b"ok"

    return small_value


def _batch(engine: Any) -> Repetition:
    small_value = small_task(engine)
    return lambda: engine.get([small_value.remote() for _ in range(BATCH)])


def _one_by_one(engine: Any) -> Repetition:
    small_value = small_task(engine)
    return lambda: engine.get(small_value.remote())


def _wait_for_each(engine: Any) -> Repetition:
    small_value = small_task(engine)

    def repetition() -> None:
        pending = [small_value.remote() for _ in range(BATCH)]
        # One wait asks for every object to be fetched; the others only look at what arrived.
        _, pending = engine.wait(pending, fetch_local=True)
        for _ in range(BATCH - 1):
            _, pending = engine.wait(pending, fetch_local=False)

    return repetition


def _from_actors(engine: Any) -> Repetition:
    small_value = small_task(engine)

    class Caller:
        def call_tasks(self, count: int) -> None:
            engine.get([small_value.remote() for _ in range(count)])

    actor_class = engine.remote(num_cpus=0)(Caller)
    callers = [actor_class.remote() for _ in range(CALLERS)]
    return lambda: engine.get([caller.call_tasks.remote(TASKS_PER_CALLER) for caller in callers])


BATCHES = Line("single client tasks and get batch", _batch, unit="batches of 1,000")
WAIT = Line("single client wait 1k refs", _wait_for_each, unit="batches of 1,000")
ONE_BY_ONE = Line("single client tasks sync", _one_by_one)
MANY = Line("single client tasks async", _batch, operations=BATCH)
FROM_ACTORS = Line("multi client tasks async", _from_actors, operations=CALLERS * TASKS_PER_CALLER)
