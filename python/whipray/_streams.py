"""References that come one by one, or as many as a task had: what is Python about them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from whipray import _core
from whipray._core import ObjectRef


class DynamicObjectRefGenerator:
    """The references to the results of a task with ``num_returns="dynamic"``.

    Iterating gives each reference once, and lets go of it.
    """

    def __init__(self, refs: Iterable[ObjectRef[Any]]) -> None:
        self._refs = deque(refs)

    def __iter__(self) -> Iterator[ObjectRef[Any]]:
        while self._refs:
            yield self._refs.popleft()

    def __len__(self) -> int:
        return len(self._refs)


async def next_item(generator: _core.ObjectRefGenerator) -> ObjectRef[Any]:
    """The next reference of a generator. Raises StopAsyncIteration behind the last one."""
    while True:
        try:
            ref = generator._take()
        except StopIteration:
            raise StopAsyncIteration from None
        if ref is not None:
            return ref
        await _ready(generator._awaited())


async def _ready(ref: ObjectRef[Any]) -> None:
    """Wait until a value is there, without reading it."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not ready.done():
            ready.set_result(None)

    def wake() -> None:
        try:
            loop.call_soon_threadsafe(settle)
        except RuntimeError:
            pass  # The loop was closed while the value was on its way.

    ref._on_ready(wake)
    await ready


async def unsupported(method: str) -> None:
    """Raises NotImplementedError, once it is awaited."""
    raise NotImplementedError(f"`gen.{method}` is not supported.")
