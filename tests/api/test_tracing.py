"""Spans around tasks and calls of actors, in the driver and in workers."""

import json
from pathlib import Path

import pytest
from harness.waiting import until

pytest.importorskip("opentelemetry.sdk")

HOOK = """
import os
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

def set_up():
    out = open({folder!r} + f"/{{os.getpid()}}.txt", "w")
    line = lambda span: span.to_json(indent=None) + "\\n"
    exporter = ConsoleSpanExporter(out=out, formatter=line)
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
"""

PROGRAM = """
{engine}
ray.init(num_cpus=2, include_dashboard=False, _tracing_startup_hook="tracing_hook:set_up")
{body}
ray.shutdown()
"""


@pytest.fixture
def spans(engine, drivers, tmp_path):
    """`spans(body, count)`: the spans of a program with this body, when there are so many."""
    folder = tmp_path / "spans"
    folder.mkdir()
    (tmp_path / "tracing_hook.py").write_text(HOOK.format(folder=str(folder)))

    def run(body: str, count: int) -> list:
        source = PROGRAM.format(engine=engine.import_lines()[0], body=body)
        drivers.run(source, environment={"PYTHONPATH": str(tmp_path)})
        until(lambda: len(read(folder)) >= count, f"there are {count} spans")
        return read(folder)

    return run


def read(folder: Path) -> list:
    lines = [line for file in folder.iterdir() for line in file.read_text().splitlines()]
    return [json.loads(line) for line in lines if line.endswith("}")]


def by_name(spans: list) -> dict:
    return {span["name"].rpartition(".<locals>.")[2]: span for span in spans}


TASK = """
@ray.remote
def add(a, b=1):
    return a + b

assert ray.get(add.remote(1, b=2)) == 3
"""


def test_task(spans):
    found = by_name(spans(TASK, 2))
    submitted = next(s for n, s in found.items() if n.endswith("add ray.remote"))
    ran = next(s for n, s in found.items() if n.endswith("add ray.remote_worker"))
    assert submitted["kind"] == "SpanKind.PRODUCER" and ran["kind"] == "SpanKind.CONSUMER"
    assert ran["parent_id"] == submitted["context"]["span_id"]
    assert ran["context"]["trace_id"] == submitted["context"]["trace_id"]
    attributes = ran["attributes"]
    assert attributes["ray.remote"] == "function"
    assert attributes["ray.function"].endswith("add")
    assert attributes["ray.pid"] != submitted["attributes"]["ray.pid"]
    assert set(attributes) >= {"ray.job_id", "ray.node_id", "ray.worker_id", "ray.task_id"}


ACTOR = """
@ray.remote
class Counter:
    def __init__(self, start):
        self.count = start

    def increase(self, by=1):
        self.count += by
        return self.count

counter = Counter.remote(3)
assert ray.get(counter.increase.remote(by=4)) == 7
"""


def test_actor(spans):
    found = by_name(spans(ACTOR, 4))
    assert set(found) == {
        "Counter.__init__ ray.remote",
        "Counter.increase ray.remote",
        "Counter.increase ray.remote_worker",
        "Counter.__init__ ray.remote_worker",
    }
    submitted = found["Counter.increase ray.remote"]
    ran = found["Counter.increase ray.remote_worker"]
    assert ran["parent_id"] == submitted["context"]["span_id"]
    assert ran["attributes"]["ray.remote"] == "actor"
    assert ran["attributes"]["ray.actor_class"] == "Counter"
    assert ran["attributes"]["ray.actor_method"] == "increase"
    assert ran["attributes"]["ray.actor_id"] == submitted["attributes"]["ray.actor_id"]


ASYNC_ACTOR = """
@ray.remote
class Echo:
    async def say(self, value):
        return value

assert ray.get(Echo.remote().say.remote(5)) == 5
"""


def test_async_actor(spans):
    found = by_name(spans(ASYNC_ACTOR, 3))
    submitted = found["Echo.say ray.remote"]
    assert found["Echo.say ray.remote_worker"]["parent_id"] == submitted["context"]["span_id"]


NESTED = """
@ray.remote
def inner():
    return 1

@ray.remote
def outer():
    return ray.get(inner.remote()) + 1

assert ray.get(outer.remote()) == 2
"""


def test_nested_tasks_are_one_trace(spans):
    found = spans(NESTED, 4)
    assert len(found) == 4
    assert len({span["context"]["trace_id"] for span in found}) == 1


FUNCTION_OF_BEFORE = """
ray.shutdown()

@ray.remote
def early(a):
    return a

ray.init(num_cpus=1, include_dashboard=False, _tracing_startup_hook="tracing_hook:set_up")
assert ray.get(early.remote(2)) == 2
"""


def test_definitions_of_before_are_traced(spans):
    assert len(spans(FUNCTION_OF_BEFORE, 2)) == 2


GENERATOR = """
@ray.remote
def count(n):
    yield from range(n)

assert [ray.get(ref) for ref in count.remote(3)] == [0, 1, 2]
try:
    count.remote(1, 2)
except TypeError as error:
    assert "too many positional" in str(error)
else:
    raise AssertionError("a call that does not fit")
"""


@pytest.mark.whipray_only
def test_generator(spans):
    found = spans(GENERATOR, 3)
    assert sum(span["name"].endswith("count ray.remote_worker") for span in found) == 1


@pytest.mark.whipray_only
def test_a_hook_that_is_not_there(init, stopped):
    with pytest.raises(ImportError):
        init(num_cpus=1, _tracing_startup_hook="no_such_module:set_up")


@pytest.mark.whipray_only
def test_a_name_without_function(init, stopped):
    with pytest.raises(ValueError, match="must be in format"):
        init(num_cpus=1, _tracing_startup_hook="tracing_hook")
