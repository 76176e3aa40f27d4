"""Limits of compiled graphs, of this process."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import ClassVar


def _number(name: str, default: float) -> float:
    text = os.environ.get(f"RAY_CGRAPH_{name}")
    return default if text is None else float(text)


DEFAULT_SUBMIT_TIMEOUT_S = _number("submit_timeout", 10)
DEFAULT_GET_TIMEOUT_S = _number("get_timeout", 10)
DEFAULT_TEARDOWN_TIMEOUT_S = _number("teardown_timeout", 30)
DEFAULT_READ_ITERATION_TIMEOUT_S = _number("read_iteration_timeout_s", 0.1)
DEFAULT_BUFFER_SIZE_BYTES = int(_number("buffer_size_bytes", 1_000_000))
DEFAULT_MAX_INFLIGHT_EXECUTIONS = int(_number("max_inflight_executions", 10))
DEFAULT_MAX_BUFFERED_RESULTS = int(_number("max_buffered_results", 1000))
DEFAULT_OVERLAP_GPU_COMMUNICATION = False


@dataclass
class DAGContext:
    """Limits that :meth:`DAGNode.experimental_compile` does not say otherwise. Timeouts are in
    seconds. ``RAY_CGRAPH_get_timeout`` and the like set them.

    The engine has no channels: of these, only ``get_timeout``, ``max_inflight_executions`` and
    ``max_buffered_results`` have an effect.
    """

    submit_timeout: float = DEFAULT_SUBMIT_TIMEOUT_S
    get_timeout: float = DEFAULT_GET_TIMEOUT_S
    teardown_timeout: float = DEFAULT_TEARDOWN_TIMEOUT_S
    read_iteration_timeout: float = DEFAULT_READ_ITERATION_TIMEOUT_S
    buffer_size_bytes: int = DEFAULT_BUFFER_SIZE_BYTES
    max_inflight_executions: int = DEFAULT_MAX_INFLIGHT_EXECUTIONS
    max_buffered_results: int = DEFAULT_MAX_BUFFERED_RESULTS
    overlap_gpu_communication: bool = DEFAULT_OVERLAP_GPU_COMMUNICATION

    _current: ClassVar[DAGContext | None] = None
    _lock: ClassVar[threading.Lock] = threading.Lock()

    @staticmethod
    def get_current() -> DAGContext:
        """The limits of this process; they may be changed."""
        with DAGContext._lock:
            if DAGContext._current is None:
                DAGContext._current = DAGContext()
            return DAGContext._current
