"""The event loop of asynchronous actors."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

from whipray import _core


class EventLoop:
    """Runs the calls of one actor; each concurrency group has its own bound."""

    def __init__(self, sizes: dict[str, int], default_size: int) -> None:
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._bounds = {name: asyncio.Semaphore(size) for name, size in sizes.items()}
        self._bounds.setdefault("", asyncio.Semaphore(max(1, default_size)))

    def complete(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What a coroutine returns, which runs to its end before the calls. Raises what it does."""
        return self._loop.run_until_complete(coroutine)

    def enter(self, descriptor: int, drive: Callable[[], bool]) -> None:
        """Run until ``drive()``, called when the descriptor is readable, returns False."""

        def on_readable() -> None:
            if not drive():
                self._loop.stop()

        self._loop.add_reader(descriptor, on_readable)
        try:
            is_through = False
            while not is_through:
                self._loop.call_soon(on_readable)
                is_through = self._run_until_stopped()
        finally:
            self._loop.remove_reader(descriptor)

    def _run_until_stopped(self) -> bool:
        """False where it is to go on for the calls beside one that leaves."""
        try:
            self._loop.run_forever()
        except SystemExit:
            # Raised in an asyncio task of the user's own, it passes through the loop.
            if not _core.is_leaving():
                raise
            return False
        return True

    def run(self, call: _core.AsyncCall, group: str) -> Callable[[], object]:
        """Start a call; what is returned cancels it, from any thread."""
        bound = self._bounds.get(group) or self._bounds[""]
        task = self._loop.create_task(self._run(call, bound))
        return functools.partial(self._loop.call_soon_threadsafe, task.cancel)

    async def _run(self, call: _core.AsyncCall, bound: asyncio.Semaphore) -> None:
        value, failure = None, None
        try:
            async with bound:
                # It says, by a context variable of this asyncio task, for which call the code runs.
                value = call.start()
                sink = call.sink()
                if sink is not None:
                    from whipray._worker_streams import give_all

                    await give_all(sink, value)
                    value = None
                elif hasattr(value, "__await__"):
                    value = await value
        except BaseException as error:
            failure = error
        if not call.done(value, failure):
            self._loop.stop()
