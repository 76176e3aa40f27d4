"""Lines about a remote client (`ray://`): the same workloads through one more hop."""

from __future__ import annotations

from dataclasses import replace

from . import actor_lines, object_lines, task_lines
from .line import Line


def _through_client(line: Line, name: str) -> Line:
    return replace(
        line,
        name=f"client: {name}",
        session="client",
        needs=(*line.needs, "<engine>.util.client"),
        alone=True,
    )


CLIENT_LINES = [
    _through_client(object_lines.GET_SMALL, "get calls"),
    _through_client(object_lines.PUT_LARGE, "put gigabytes"),
    _through_client(object_lines.PUT_SMALL, "put calls"),
    _through_client(object_lines.PUT_SMALL_FROM_TASKS, "tasks and put batch"),
    _through_client(actor_lines.SYNC, "1:1 actor calls sync"),
    _through_client(actor_lines.ASYNC, "1:1 actor calls async"),
    _through_client(actor_lines.CONCURRENT, "1:1 actor calls concurrent"),
    _through_client(task_lines.BATCHES, "tasks and get batch"),
]
