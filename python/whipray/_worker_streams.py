"""Generators of asynchronous actors: from what they yield to their consumers."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from whipray import _core

_OUTPUT_CHECK_SECONDS = 0.001


async def give_all(sink: _core.ItemSink, results: Any) -> None:
    """Send all that a generator, asynchronous or not, yields. Raises what that raises."""
    if hasattr(results, "__aiter__"):
        async with aclosing(results):
            async for item in results:
                if sink.send(item):
                    await _rest(sink)
    elif hasattr(results, "__next__"):
        for item in results:
            if sink.send(item):
                await _rest(sink)
    else:
        raise ValueError(
            'Functions with @ray.remote(num_returns="streaming" must return a generator'
        )


async def _rest(sink: _core.ItemSink) -> None:
    """Let others have the event loop, until the consumer has room."""
    await asyncio.sleep(0)
    while not sink.has_room():
        loop = asyncio.get_running_loop()
        room: asyncio.Future[None] = loop.create_future()

        def wake(room: asyncio.Future[None] = room) -> None:
            if not room.done():
                room.set_result(None)

        def on_room(wake: Any = wake, loop: asyncio.AbstractEventLoop = loop) -> None:
            try:
                loop.call_soon_threadsafe(wake)
            except RuntimeError:
                pass  # The loop was closed: the actor ends.

        sink.when_room(on_room)
        await room
    # Only a consumer that reads nothing at all, megabytes behind, makes this wait.
    while not sink.is_output_low():
        await asyncio.sleep(_OUTPUT_CHECK_SECONDS)
