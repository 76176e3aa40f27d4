"""Which process of a pool gets which batch, and when.

A process has one batch at a time where batches are long, so that the next one goes to whoever is
idle; of short ones it has several, so that it never waits for the next. How long they are is
measured, function by function.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from whipray import _core
from whipray._core import ObjectRef
from whipray._objects import kill
from whipray.exceptions import ActorDiedError
from whipray.util.multiprocessing.batch_process import Payload

QUEUED_SECONDS = 0.005
"""The work that a process has at most, in seconds, where that is more than one batch."""

MOST_QUEUED = 512
"""Batches that a process has at most."""


class Function:
    """A function as it travels, and how long it takes."""

    __slots__ = ("payload", "is_spread", "seconds_per_item")

    def __init__(self, payload: Payload, is_spread: bool) -> None:
        self.payload = payload
        self.is_spread = is_spread
        self.seconds_per_item: float | None = None

    def learn(self, seconds: float, items: int) -> None:
        """``items`` took ``seconds``. A long run counts at once, short ones little by little."""
        each = seconds / items
        known = self.seconds_per_item
        if known is None or each > known:
            self.seconds_per_item = each
        else:
            self.seconds_per_item = known + (each - known) / 4

    def expected(self, items: int) -> float:
        """The seconds that ``items`` take: for ever, as long as nobody knows."""
        return math.inf if self.seconds_per_item is None else self.seconds_per_item * items

    def depth(self, items: int) -> int:
        """How many batches of ``items`` an idle process gets."""
        return max(1, fitting(QUEUED_SECONDS, self.expected(items)))


def fitting(seconds: float, each: float) -> int:
    """How many batches that take ``each`` fit into ``seconds``; a bounded number."""
    if each == math.inf or seconds <= 0:
        return 0
    return int(min(seconds / max(each, 1e-9), MOST_QUEUED))


class Batch:
    """A part of a call of the pool: its items, and the reference of its results once it is sent."""

    __slots__ = ("function", "items", "reference", "failure", "on_settled")

    def __init__(self, function: Function, items: list[Any]) -> None:
        self.function = function
        self.items = items
        self.reference: ObjectRef[Any] | None = None
        self.failure: BaseException | None = None
        """Why it will never be sent."""
        self.on_settled: Callable[[], object] | None = None
        """Called once, from any thread; it must return soon."""

    def is_sent(self) -> bool:
        """Whether it is on its way, or will never be."""
        return self.reference is not None or self.failure is not None

    def is_settled(self) -> bool:
        """Whether its results are there, or will never be."""
        if self.reference is not None:
            return self.reference._is_ready()
        return self.failure is not None


class _Mark:
    """A batch that is watched: once it is done, so are those before it in the same process."""

    __slots__ = ("reference", "number", "items", "seconds", "function", "is_armed")

    def __init__(
        self, reference: ObjectRef[Any], number: int, items: int, function: Function
    ) -> None:
        self.reference = reference
        self.number = number
        self.items = items
        """Since the mark before, with this batch."""
        self.seconds = function.expected(items)
        """What these are expected to take."""
        self.function = function
        self.is_armed = False


class _Process:
    """One process of the pool. Its batches are numbered in the order in which it gets them."""

    __slots__ = ("actor", "sent", "done", "busy_since", "marks")

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.sent = 0
        self.done = 0
        self.busy_since = 0.0
        self.marks: deque[_Mark] = deque()

    def load(self) -> float:
        """The seconds that it is expected to be busy."""
        return sum(mark.seconds for mark in self.marks)


class Dispatcher:
    """Hands batches to processes. Any thread may call it."""

    def __init__(
        self, start_process: Callable[[], Any], processes: int, batches_per_process: int | None
    ) -> None:
        """``start_process()`` gives an actor; one that had ``batches_per_process`` is replaced."""
        self._start_process = start_process
        self._limit = batches_per_process
        self._queue: deque[Batch] = deque()
        self._processes = [_Process(start_process()) for _ in range(processes)]
        self._endings: list[ObjectRef[Any]] = []
        self._helpers = 0
        self._is_closed = False
        self._is_ended = False
        # Reentrant: a batch that is done at once reports back from inside of its submission.
        self._lock = threading.RLock()
        self._progress = threading.Condition(self._lock)

    @property
    def is_closed(self) -> bool:
        """Whether no more batches are taken."""
        return self._is_closed

    @property
    def processes(self) -> int:
        """How many processes there are."""
        return len(self._processes)

    def starts(self) -> list[ObjectRef[Any]]:
        """A reference for each process, which is ready once its initializer has returned."""
        return [process.actor.ready.remote() for process in self._processes]

    def depth(self, function: Function, items: int) -> int:
        """How many batches of ``items`` keep all processes busy."""
        return len(self._processes) * function.depth(items)

    def submit(self, batches: list[Batch]) -> None:
        """Send batches in their order, now or as soon as a process has room.

        Raises ValueError after :meth:`close` or :meth:`terminate`.
        """
        with self._lock:
            if self._is_closed:
                raise ValueError("Pool not running")
            self._queue.extend(batches)
            self._look_for_done()
            self._pump()

    def close(self) -> None:
        """Take no more batches; the processes end after those that they have."""
        with self._lock:
            self._is_closed = True
            self._pump()

    def terminate(self) -> None:
        """End the processes at once. What was not sent fails."""
        with self._lock:
            self._is_closed = self._is_ended = True
            for batch in self._queue:
                batch.failure = ValueError("Pool not running: it was terminated before this call.")
                if batch.on_settled is not None:
                    batch.on_settled()
            self._queue.clear()
            for process in self._processes:
                kill(process.actor)
                process.marks.clear()
            self._endings.clear()
            self._progress.notify_all()

    def join(self) -> None:
        """Wait for the end of all processes. Raises ValueError before :meth:`close`."""
        if not self._is_closed:
            raise ValueError("Pool is still running")
        while not self._is_ended:
            self._help(None, lambda: self._is_ended)
        endings = list(self._endings)
        if endings:
            _core.wait(endings, len(endings), None)

    def wait_sent(self, batch: Batch, timeout: float | None) -> bool:
        """Wait until a batch is sent, or will never be; whether that happened in time.

        Batches are sent in the order in which they were submitted.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not batch.is_sent():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._help(left, batch.is_sent)
        return True

    def _help(self, timeout: float | None, is_enough: Callable[[], bool]) -> None:
        """Wait in this thread for a process that gets more, so that no other one has to wake up."""
        with self._lock:
            watched = [process.marks[0].reference for process in self._processes if process.marks]
            if is_enough():
                return
            if not watched:
                self._progress.wait(timeout)
                return
            self._helpers += 1
        try:
            _core.wait(watched, 1, timeout)
        finally:
            with self._lock:
                self._helpers -= 1
                self._look_for_done()
                self._pump()

    def on_collected(self) -> None:
        """Results were taken: the watched ones among them are to be let go of."""
        with self._lock:
            self._look_for_done()

    def _on_mark(self) -> None:
        with self._lock:
            self._look_for_done()
            self._pump()

    def _look_for_done(self) -> None:
        now = time.monotonic()
        for process in self._processes:
            while process.marks and process.marks[0].reference._is_ready():
                mark = process.marks.popleft()
                process.done = mark.number
                if mark.reference._is_failed():
                    self._on_failed(process, mark.reference)
                    break
                mark.function.learn(now - process.busy_since, mark.items)
                process.busy_since = now

    def _on_failed(self, process: _Process, reference: ObjectRef[Any]) -> None:
        """Calls return what their functions raise: the process itself has failed."""
        try:
            _core.get(reference, None)
        except ActorDiedError as error:
            # Another one would not come further than this one, whose initializer raised.
            if not error.actor_init_failed and not self._is_ended:
                self._replace(process)
        except Exception:
            pass  # It lives, or is about to: whoever waits for the batch hears of it.

    def _replace(self, process: _Process) -> None:
        process.actor = self._start_process()
        process.sent = process.done = 0
        process.marks.clear()

    def _pump(self) -> None:
        """Send what there is room for; then, where nothing more comes, the end."""
        now = time.monotonic()
        queue = self._queue
        while queue:
            self._retire()
            process = min(self._processes, key=_Process.load)
            room = self._room(process, queue[0])
            if room <= 0:
                break
            self._give(process, room, now)
        if self._is_closed and not queue and not self._is_ended:
            self._is_ended = True
            for process in self._processes:
                self._endings.append(process.actor.__ray_terminate__.remote())
        self._progress.notify_all()
        # Where nothing waits to be sent, the next call will look for itself what is done.
        if queue and self._helpers == 0:
            self._arm()

    def _retire(self) -> None:
        """Replace processes that had as many batches as they may, and have answered all."""
        if self._limit is None:
            return
        for process in self._processes:
            if process.sent >= self._limit and process.done == process.sent:
                self._endings.append(process.actor.__ray_terminate__.remote())
                self._replace(process)

    def _room(self, process: _Process, batch: Batch) -> int:
        """How many of the next batches a process gets."""
        items = len(batch.items)
        if process.marks:
            room = fitting(QUEUED_SECONDS - process.load(), batch.function.expected(items))
        else:
            room = batch.function.depth(items)
        room = min(room, -(-len(self._queue) // len(self._processes)))
        return room if self._limit is None else min(room, self._limit - process.sent)

    def _give(self, process: _Process, room: int, now: float) -> None:
        queue, function = self._queue, self._queue[0].function
        if process.sent == process.done:
            process.busy_since = now
        actor, payload = process.actor, function.payload
        run = (actor.each_spread if function.is_spread else actor.each).remote
        # The process gets more when half of what it has now is done.
        turn = (room - 1) // 2
        count = items = 0
        while count < room and queue and queue[0].function is function:
            batch = queue.popleft()
            try:
                reference = batch.reference = run(payload, batch.items)
            except Exception as error:
                # Its items cannot travel. The others go on, and whoever waits for it hears of it.
                batch.failure, batch.items = error, []
                if batch.on_settled is not None:
                    batch.on_settled()
                continue
            items += len(batch.items)
            batch.items = []
            if batch.on_settled is not None:
                reference._on_ready(batch.on_settled)
            process.sent += 1
            if count == turn:
                process.marks.append(_Mark(reference, process.sent, items, function))
                items = 0
            count += 1
        if items:
            process.marks.append(_Mark(reference, process.sent, items, function))

    def _arm(self) -> None:
        """Have the first mark of every process reported, as nobody waits for it."""
        for process in self._processes:
            if process.marks and not process.marks[0].is_armed:
                process.marks[0].is_armed = True
                process.marks[0].reference._on_ready(self._on_mark)
