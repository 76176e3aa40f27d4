"""A first-in first-out queue that any task, actor or driver can use."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterable
from typing import Any

from whipray._objects import get, kill
from whipray._remote import remote

__all__ = ["Empty", "Full", "Queue"]


class Empty(queue.Empty):
    """The queue has too few items."""


class Full(queue.Full):
    """The queue has no room."""


class Queue:
    """A queue that lives in an actor; copies of the object are the same queue.

    Items are copied. A queue ends with its last copy, or by :meth:`shutdown`.
    """

    def __init__(self, maxsize: int = 0, actor_options: dict[str, Any] | None = None) -> None:
        """``maxsize`` items at most; zero: any number. ``actor_options`` are those of its actor."""
        self.maxsize = maxsize
        self.actor: Any = remote(_QueueActor).options(**(actor_options or {})).remote(maxsize)

    def __len__(self) -> int:
        return self.size()

    def size(self) -> int:
        """The number of items."""
        return int(get(self.actor.size.remote()))

    def qsize(self) -> int:
        """The number of items."""
        return self.size()

    def empty(self) -> bool:
        """Whether there is no item."""
        return self.size() == 0

    def full(self) -> bool:
        """Whether there is no room."""
        return 0 < self.maxsize <= self.size()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Append an item, waiting for room if ``block``, at most ``timeout`` seconds.

        Raises Full where there is no room, ValueError for a negative timeout.
        """
        if not get(self.actor.put.remote(item, _seconds(block, timeout))):
            raise Full

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """The same as :meth:`put`, for coroutines."""
        if not await self.actor.put.remote(item, _seconds(block, timeout)):
            raise Full

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the first item, waiting for one if ``block``, at most ``timeout`` seconds.

        Raises Empty where there is none, ValueError for a negative timeout.
        """
        return _first(get(self.actor.get.remote(_seconds(block, timeout))))

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:
        """The same as :meth:`get`, for coroutines."""
        return _first(await self.actor.get.remote(_seconds(block, timeout)))

    def put_nowait(self, item: Any) -> None:
        """Append an item. Raises Full where there is no room."""
        self.put(item, block=False)

    def put_nowait_batch(self, items: Iterable[Any]) -> None:
        """Append all items or none.

        Raises Full where they do not all have room, TypeError for what is not iterable.
        """
        if not isinstance(items, Iterable):
            raise TypeError("Argument 'items' must be an Iterable")
        items = list(items)
        size = get(self.actor.put_batch.remote(items))
        if size is not None:
            raise Full(
                f"Cannot add {len(items)} items to queue of size {size} and maxsize {self.maxsize}."
            )

    def get_nowait(self) -> Any:
        """Take the first item. Raises Empty where there is none."""
        return self.get(block=False)

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        """Take the first ``num_items`` items or none.

        Raises Empty where there are fewer, TypeError or ValueError for what is no number of items.
        """
        if not isinstance(num_items, int):
            raise TypeError("Argument 'num_items' must be an int")
        if num_items < 0:
            raise ValueError("'num_items' must be nonnegative")
        items, size = get(self.actor.get_batch.remote(num_items))
        if items is None:
            raise Empty(f"Cannot get {num_items} items from queue of size {size}.")
        return list(items)

    def shutdown(self, force: bool = False, grace_period_s: int = 5) -> None:
        """End the queue: at once with ``force``, otherwise after the calls that it has, which get
        ``grace_period_s`` seconds."""
        if self.actor is None:
            return
        if not force:
            from whipray._objects import wait

            wait([self.actor.__ray_terminate__.remote()], timeout=float(grace_period_s))
        kill(self.actor, no_restart=True)
        self.actor = None


def _seconds(block: bool, timeout: float | None) -> float | None:
    """How long the actor is to wait: None for ever."""
    if not block:
        return 0.0
    if timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
    return timeout


def _first(items: list[Any]) -> Any:
    if not items:
        raise Empty
    return items[0]


class _QueueActor:
    """The queue itself. Answers tell what did not fit: exceptions would arrive as task errors."""

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._items: asyncio.Queue[Any] = asyncio.Queue(max(0, maxsize))

    async def size(self) -> int:
        return self._items.qsize()

    async def put(self, item: Any, timeout: float | None) -> bool:
        """Whether there was room in time."""
        try:
            self._items.put_nowait(item)
            return True
        except asyncio.QueueFull:
            if timeout == 0:
                return False
        try:
            await asyncio.wait_for(self._items.put(item), timeout)
        except asyncio.TimeoutError:
            return False
        return True

    async def get(self, timeout: float | None) -> list[Any]:
        """A list of the first item; empty where there was none in time."""
        try:
            return [self._items.get_nowait()]
        except asyncio.QueueEmpty:
            if timeout == 0:
                return []
        try:
            return [await asyncio.wait_for(self._items.get(), timeout)]
        except asyncio.TimeoutError:
            return []

    async def put_batch(self, items: list[Any]) -> int | None:
        """None, or the number of items in the queue where the new ones do not fit."""
        size = self._items.qsize()
        if 0 < self._maxsize < size + len(items):
            return size
        for item in items:
            self._items.put_nowait(item)
        return None

    async def get_batch(self, count: int) -> tuple[list[Any] | None, int]:
        """The items, or None where there are too few; and how many there were."""
        size = self._items.qsize()
        if size < count:
            return None, size
        return [self._items.get_nowait() for _ in range(count)], size
