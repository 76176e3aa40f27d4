"""Lines about calls to actors with ordinary (threaded) methods."""

from __future__ import annotations

from typing import Any

from .line import HALF_OF_THE_CPUS, Line, Repetition

BATCH = 1000
CONCURRENCY = 16
CALLS_PER_SERVER = 5000
CALLING_TASKS = 4
CALLS_WITH_ARGUMENT = 1000


def server_class(engine: Any) -> Any:
    """The actor whose methods do nothing, as an actor class of `engine`."""

    @engine.remote(num_cpus=0)
    class Server:
        def small_value(self) -> bytes:
            return b"ok"

        def small_value_of(self, argument: object) -> bytes:
            return b"ok"

    return Server


def client_class(engine: Any) -> Any:
    """The actor that calls a list of servers, as an actor class of `engine`."""

    @engine.remote(num_cpus=0)
    class Client:
        def __init__(self, servers: list[Any]) -> None:
            self.servers = servers

        def call_each(self, count: int) -> None:
            results: list[Any] = []
            for server in self.servers:
                results.extend([server.small_value.remote() for _ in range(count)])
            engine.get(results)

        def call_each_with_reference(self, count: int) -> None:
            argument = engine.put(0)
            results: list[Any] = []
            for server in self.servers:
                results.extend([server.small_value_of.remote(argument) for _ in range(count)])
            engine.get(results)

    return Client


def call_one_by_one(engine: Any, server: Any) -> Repetition:
    """One call, waited for."""
    return lambda: engine.get(server.small_value.remote())


def call_batch(engine: Any, server: Any) -> Repetition:
    """A batch of `BATCH` calls, then one wait for all of them."""
    return lambda: engine.get([server.small_value.remote() for _ in range(BATCH)])


def call_from_one_client(engine: Any, servers: list[Any]) -> Repetition:
    """One client actor calls every server `CALLS_PER_SERVER` times."""
    client = client_class(engine).remote(servers)
    return lambda: engine.get(client.call_each.remote(CALLS_PER_SERVER))


def call_from_tasks(engine: Any, servers: list[Any]) -> Repetition:
    """`CALLING_TASKS` tasks call the servers in turn, `CALLS_PER_SERVER` times each."""
    number = len(servers)

    @engine.remote
    def call_in_turn(servers: list[Any]) -> None:
        engine.get([servers[i % number].small_value.remote() for i in range(CALLS_PER_SERVER)])

    return lambda: engine.get([call_in_turn.remote(servers) for _ in range(CALLING_TASKS)])


def _sync(engine: Any) -> Repetition:
    return call_one_by_one(engine, server_class(engine).remote())


def _async(engine: Any) -> Repetition:
    return call_batch(engine, server_class(engine).remote())


def _concurrent(engine: Any) -> Repetition:
    server = server_class(engine).options(max_concurrency=CONCURRENCY).remote()
    return call_batch(engine, server)


def _servers(engine: Any) -> list[Any]:
    server = server_class(engine)
    return [server.remote() for _ in range(HALF_OF_THE_CPUS)]


def _one_to_many(engine: Any) -> Repetition:
    return call_from_one_client(engine, _servers(engine))


def _many_to_many(engine: Any) -> Repetition:
    return call_from_tasks(engine, _servers(engine))


def _many_to_many_with_argument(engine: Any) -> Repetition:
    client = client_class(engine)
    clients = [client.remote([server]) for server in _servers(engine)]
    return lambda: engine.get(
        [client.call_each_with_reference.remote(CALLS_WITH_ARGUMENT) for client in clients]
    )


SYNC = Line("1:1 actor calls sync", _sync)
ASYNC = Line("1:1 actor calls async", _async, operations=BATCH)
CONCURRENT = Line("1:1 actor calls concurrent", _concurrent, operations=BATCH)
ONE_TO_MANY = Line(
    "1:n actor calls async", _one_to_many, operations=CALLS_PER_SERVER * HALF_OF_THE_CPUS
)
MANY_TO_MANY = Line(
    "n:n actor calls async", _many_to_many, operations=CALLS_PER_SERVER * CALLING_TASKS
)
MANY_TO_MANY_WITH_ARGUMENT = Line(
    "n:n actor calls with arg async",
    _many_to_many_with_argument,
    operations=CALLS_WITH_ARGUMENT * HALF_OF_THE_CPUS,
)
