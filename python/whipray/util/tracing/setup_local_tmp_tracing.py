"""Spans as lines of JSON below ``/tmp/spans``, a file for each process."""

from __future__ import annotations

import os

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

spans_dir = "/tmp/spans/"


def setup_tracing() -> None:
    """Write each span of this process, when it ends, to ``/tmp/spans/<pid>.txt``."""
    os.makedirs(spans_dir, exist_ok=True)
    provider = TracerProvider()
    file = open(os.path.join(spans_dir, f"{os.getpid()}.txt"), "w")
    provider.add_span_processor(
        SimpleSpanProcessor(
            ConsoleSpanExporter(
                out=file, formatter=lambda span: span.to_json(indent=None) + os.linesep
            )
        )
    )
    trace.set_tracer_provider(provider)
