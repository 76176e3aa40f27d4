"""All lines, in the order in which `ray microbenchmark` prints them."""

from __future__ import annotations

from . import actor_lines, async_actor_lines, object_lines, placement_group_lines, task_lines
from .client_lines import CLIENT_LINES
from .line import Line

LINES: list[Line] = [
    object_lines.GET_SMALL,
    object_lines.PUT_SMALL,
    object_lines.PUT_SMALL_FROM_TASKS,
    object_lines.PUT_LARGE,
    task_lines.BATCHES,
    object_lines.PUT_LARGE_FROM_TASKS,
    object_lines.GET_NESTED_REFERENCES,
    task_lines.WAIT,
    task_lines.ONE_BY_ONE,
    task_lines.MANY,
    task_lines.FROM_ACTORS,
    actor_lines.SYNC,
    actor_lines.ASYNC,
    actor_lines.CONCURRENT,
    actor_lines.ONE_TO_MANY,
    actor_lines.MANY_TO_MANY,
    actor_lines.MANY_TO_MANY_WITH_ARGUMENT,
    async_actor_lines.SYNC,
    async_actor_lines.ASYNC,
    async_actor_lines.ASYNC_WITH_ARGUMENT,
    async_actor_lines.ONE_TO_MANY,
    async_actor_lines.MANY_TO_MANY,
    placement_group_lines.CREATE_AND_REMOVE,
    *CLIENT_LINES,
]
