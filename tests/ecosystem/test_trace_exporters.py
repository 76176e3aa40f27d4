"""Spans that leave the processes by OpenTelemetry's own exporters (OTLP), to a collector."""

import json
from pathlib import Path

import pytest
from harness.waiting import until

pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

COLLECTOR = Path(__file__).with_name("trace_collector.py").read_text()

PROGRAM = """
import ray
ray.init(num_cpus=2, include_dashboard=False, _tracing_startup_hook={hook!r})

@ray.remote
def inner(number):
    return number + 1

@ray.remote
def outer(number):
    return ray.get(inner.remote(number))

@ray.remote
class Counter:
    def add(self, number):
        return number

assert ray.get(outer.remote(1)) == 2
counter = Counter.remote()
assert ray.get(counter.add.remote(3)) == 3
print("through", flush=True)
"""

OVER_HTTP = """
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

def set_up():
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
"""

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
SPANS = 8
"""Two of each of two tasks, a constructor and a method: of the caller, and of the callee."""


class Collector:
    """What the program `trace_collector.py` has been sent."""

    def __init__(self, drivers):
        self._program = drivers.start(COLLECTOR, name="trace_collector.py")
        self._program.until_printed("\n")
        _, self.grpc_port, self.http_port = self._program.stdout.splitlines()[0].split()

    def spans(self):
        return [json.loads(line) for line in self._program.stdout.splitlines()[1:] if "}" in line]


@pytest.fixture
def collector(drivers):
    return Collector(drivers)


def require_the_tree(collector):
    """Each execution is below its submission, and what a task calls below the task."""
    until(lambda: len(collector.spans()) >= SPANS, f"{SPANS} spans have arrived")
    spans = {span["name"].rpartition("__main__.")[2]: span for span in collector.spans()}
    assert len(spans) == SPANS, sorted(spans)
    for name in ["outer", "inner", "Counter.__init__", "Counter.add"]:
        submitted, ran = spans[f"{name} ray.remote"], spans[f"{name} ray.remote_worker"]
        assert ran["parent"] == submitted["span"]
        assert ran["trace"] == submitted["trace"]
        assert ran["is_consumer"]
    assert spans["inner ray.remote"]["parent"] == spans["outer ray.remote_worker"]["span"]


def test_over_grpc(drivers, collector):
    hook = "ray.util.tracing.setup_tempo_tracing:setup_tracing"
    endpoint = f"http://127.0.0.1:{collector.grpc_port}"
    driver = drivers.run(PROGRAM.format(hook=hook), environment={ENDPOINT: endpoint})
    require_the_tree(collector)
    assert "outer ray.remote" in driver.stdout


def test_over_http(drivers, collector, tmp_path):
    (tmp_path / "over_http.py").write_text(OVER_HTTP)
    endpoint = f"http://127.0.0.1:{collector.http_port}"
    environment = {ENDPOINT: endpoint, "PYTHONPATH": str(tmp_path)}
    drivers.run(PROGRAM.format(hook="over_http:set_up"), environment=environment)
    require_the_tree(collector)


def test_a_collector_that_is_not_there_does_not_stop_the_program(drivers):
    hook = "ray.util.tracing.setup_tempo_tracing:setup_tracing"
    environment = {ENDPOINT: "http://127.0.0.1:1"}
    driver = drivers.start(PROGRAM.format(hook=hook), environment=environment)
    driver.until_printed("through")
    assert driver.finish() == 0
