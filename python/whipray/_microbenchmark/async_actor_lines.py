"""Lines about calls to actors whose methods are coroutines."""

from __future__ import annotations

from typing import Any

from . import actor_lines
from .line import HALF_OF_THE_CPUS, Line, Repetition


def _server_class(engine: Any) -> Any:
    @engine.remote
    class AsyncServer:
        async def small_value(self) -> bytes:
            return b"ok"

        async def small_value_of(self, argument: object) -> bytes:
            return b"ok"

    return AsyncServer


def _servers(engine: Any) -> list[Any]:
    server = _server_class(engine)
    return [server.remote() for _ in range(HALF_OF_THE_CPUS)]


def _sync(engine: Any) -> Repetition:
    return actor_lines.call_one_by_one(engine, _server_class(engine).remote())


def _async(engine: Any) -> Repetition:
    return actor_lines.call_batch(engine, _server_class(engine).remote())


def _async_with_argument(engine: Any) -> Repetition:
    server = _server_class(engine).remote()
    return lambda: engine.get([server.small_value_of.remote(i) for i in range(actor_lines.BATCH)])


def _one_to_many(engine: Any) -> Repetition:
    return actor_lines.call_from_one_client(engine, _servers(engine))


def _many_to_many(engine: Any) -> Repetition:
    return actor_lines.call_from_tasks(engine, _servers(engine))


SYNC = Line("1:1 async-actor calls sync", _sync)
ASYNC = Line("1:1 async-actor calls async", _async, operations=actor_lines.BATCH)
ASYNC_WITH_ARGUMENT = Line(
    "1:1 async-actor calls with args async",
    _async_with_argument,
    operations=actor_lines.BATCH,
)
ONE_TO_MANY = Line(
    "1:n async-actor calls async",
    _one_to_many,
    operations=actor_lines.CALLS_PER_SERVER * HALF_OF_THE_CPUS,
)
MANY_TO_MANY = Line(
    "n:n async-actor calls async",
    _many_to_many,
    operations=actor_lines.CALLS_PER_SERVER * actor_lines.CALLING_TASKS,
)
