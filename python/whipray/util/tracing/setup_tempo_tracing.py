"""Spans to a collector that speaks OTLP over gRPC, as Grafana Tempo does, and to the standard
output."""

from __future__ import annotations

import os

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

_TIMEOUT_SECONDS = 1.0
"""How long a collector that does not answer holds up who ends a span."""


def setup_tracing() -> None:
    """Send each span of this process, when it ends, to ``http://localhost:4317``.

    ``OTEL_EXPORTER_OTLP_ENDPOINT`` names another collector, ``OTEL_EXPORTER_OTLP_TIMEOUT`` how long
    to wait for it, in seconds (1). One that does not answer is reported in the log.
    """
    timeout = float(os.environ.get("OTEL_EXPORTER_OTLP_TIMEOUT", _TIMEOUT_SECONDS))
    provider = TracerProvider()
    # Not in batches: a worker may be ended at any time, with the spans that it keeps.
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(timeout=timeout)))
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
    trace.set_tracer_provider(provider)
