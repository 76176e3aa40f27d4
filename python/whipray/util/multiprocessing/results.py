"""What the asynchronous calls of a pool return."""

from __future__ import annotations

import multiprocessing
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from whipray import _core
from whipray.util.multiprocessing.batch_process import FailedBatch, PoolTaskError
from whipray.util.multiprocessing.dispatch import Batch, Dispatcher, Function


def results_of(batch: Batch) -> list[Any]:
    """What a settled batch has returned; :class:`PoolTaskError` in the places of what failed.

    Raises RayActorError where the process of the batch ended before it answered.
    """
    if batch.reference is None:
        assert batch.failure is not None
        raise batch.failure
    answer = _core.get(batch.reference, None)
    return answer.results if type(answer) is FailedBatch else answer


def wait_for(batches: list[Batch], dispatcher: Dispatcher, timeout: float | None) -> bool:
    """Wait for all batches; whether they were settled in time."""
    return not batches or _wait(batches, dispatcher, len(batches), timeout)


def _wait(batches: list[Batch], dispatcher: Dispatcher, count: int, timeout: float | None) -> bool:
    deadline = None if timeout is None else time.monotonic() + timeout
    # Batches are sent in order: once the first `count` are, there are as many to wait for.
    if not dispatcher.wait_sent(batches[count - 1], timeout):
        return False
    references = [batch.reference for batch in batches if batch.reference is not None]
    # What was never sent, as its items cannot travel or the pool was terminated, is settled.
    count -= sum(batch.failure is not None for batch in batches)
    if count <= 0:
        return True
    left = None if deadline is None else max(0.0, deadline - time.monotonic())
    settled, _ = _core.wait(references, count, left)
    return len(settled) == count


class CallbackThread:
    """Runs the callbacks of one pool, one after the other, as the standard library does."""

    def __init__(self) -> None:
        self._settled: queue.SimpleQueue[AsyncResult] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_running = False

    def run_soon(self, result: AsyncResult) -> None:
        """Have the callbacks of a settled call run."""
        with self._lock:
            self._settled.put(result)
            if self._is_running:
                return
            self._is_running = True
        threading.Thread(target=self._run, name="whipray-pool-callbacks", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                result = self._settled.get(timeout=1.0)
            except queue.Empty:
                with self._lock:
                    if self._settled.empty():
                        self._is_running = False
                        return
                continue
            result._run_callback()


class AsyncResult:
    """The results of a call that goes on meanwhile."""

    def __init__(
        self,
        batches: list[Batch],
        dispatcher: Dispatcher,
        callbacks: CallbackThread,
        callback: Callable[[Any], Any] | None,
        error_callback: Callable[[Exception], Any] | None,
        is_single: bool,
    ) -> None:
        self._batches = batches
        self._dispatcher = dispatcher
        self._is_single = is_single
        self._callback = callback
        self._error_callback = error_callback
        self._outcome: tuple[bool, Any] | None = None
        self._called_back: threading.Event | None = None
        if callback is not None or error_callback is not None:
            self._called_back = threading.Event()
            self._callbacks = callbacks
            self._unsettled = len(batches)
            self._lock = threading.Lock()
            for batch in batches:
                batch.on_settled = self._count_down
            if not batches:
                callbacks.run_soon(self)

    def _count_down(self) -> None:
        with self._lock:
            self._unsettled -= 1
            is_last = self._unsettled == 0
        if is_last:
            self._callbacks.run_soon(self)

    def _run_callback(self) -> None:
        assert self._called_back is not None
        has_succeeded, value = self._settle()
        callback = self._callback if has_succeeded else self._error_callback
        try:
            if callback is not None:
                callback(value)
        except Exception as error:
            # The thread goes on: other calls have callbacks as well.
            report = (type(error), error, error.__traceback__, threading.current_thread())
            threading.excepthook(threading.ExceptHookArgs(report))
        finally:
            self._called_back.set()

    def _settle(self) -> tuple[bool, Any]:
        """Whether all calls succeeded, and their results or the first failure. All are settled."""
        if self._outcome is None:
            self._outcome = self._collect()
            self._batches = []
            self._dispatcher.on_collected()
        return self._outcome

    def _collect(self) -> tuple[bool, Any]:
        results: list[Any] = []
        try:
            references = [batch.reference for batch in self._batches if batch.reference is not None]
            if len(references) == len(self._batches):
                answers = _core.get(references, None)
            else:
                answers = [results_of(batch) for batch in self._batches]
            for answer in answers:
                if type(answer) is FailedBatch:
                    answer = answer.results
                    for result in answer:
                        if type(result) is PoolTaskError:
                            return False, result.to_raise()
                results.extend(answer)
        except Exception as error:
            return False, error
        return True, results[0] if self._is_single else results

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the end of the call, at most ``timeout`` seconds."""
        self._is_over(timeout)

    def _is_over(self, timeout: float | None) -> bool:
        if self._called_back is not None:
            return self._called_back.wait(timeout)
        return self._outcome is not None or wait_for(self._batches, self._dispatcher, timeout)

    def get(self, timeout: float | None = None) -> Any:
        """The result of ``apply_async``, the list of results of the others.

        Raises what a call raised (the first in the order of the items),
        multiprocessing.TimeoutError after ``timeout`` seconds, RayActorError where a process of
        the pool ended in between.
        """
        if not self._is_over(timeout):
            raise multiprocessing.TimeoutError
        has_succeeded, value = self._settle()
        if not has_succeeded:
            raise value
        return value

    def ready(self) -> bool:
        """Whether the call is over."""
        return self._is_over(0)

    def successful(self) -> bool:
        """Whether no call raised. Raises ValueError while the call goes on."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._settle()[0]


class IMapIterator(ABC):
    """Results as they are asked for; batches are sent as they are needed."""

    def __init__(
        self, dispatcher: Dispatcher, function: Function, items: Iterable[Any], chunksize: int
    ) -> None:
        self._dispatcher = dispatcher
        self._function = function
        self._items = iter(items)
        self._chunksize = chunksize
        self._is_exhausted = False
        self._failure: Exception | None = None
        """What the iterable raised, until that is raised here."""
        self._pending: deque[Batch] = deque()
        """Sent, or about to be, in the order of the items."""
        self._settled: deque[Batch] = deque()
        """Taken out of the pending ones, and not looked at."""
        self._results: deque[Any] = deque()
        self._refill()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self.next()

    def _refill(self) -> None:
        """Send as many batches as keep the processes busy, and not the whole iterable: it may have
        no end."""
        if self._is_exhausted:
            return
        depth = self._dispatcher.depth(self._function, self._chunksize)
        wanted = depth - len(self._pending) - len(self._settled)
        batches: list[Batch] = []
        while len(batches) < wanted:
            try:
                items = list(islice(self._items, self._chunksize))
            except Exception as error:
                # Raised in its turn, after the results of the items before.
                self._failure = error
                items = []
            if not items:
                self._is_exhausted = True
                break
            batches.append(Batch(self._function, items))
        if batches:
            self._dispatcher.submit(batches)
            self._pending.extend(batches)

    def next(self, timeout: float | None = None) -> Any:
        """The next result.

        Raises what its call or the iterable raised, StopIteration after the last one,
        multiprocessing.TimeoutError after ``timeout`` seconds; the result may still be had by a
        later call then.
        """
        if not self._results:
            if not self._pending and not self._settled:
                failure, self._failure = self._failure, None
                raise failure or StopIteration
            batch = self._take(timeout)
            # The processes go on while these results are looked at.
            self._refill()
            self._results.extend(results_of(batch))
        result = self._results.popleft()
        if type(result) is PoolTaskError:
            raise result.to_raise()
        return result

    @abstractmethod
    def _take(self, timeout: float | None) -> Batch:
        """The next batch that is settled. Raises multiprocessing.TimeoutError."""


class OrderedIMapIterator(IMapIterator):
    """Results in the order of the items."""

    def _take(self, timeout: float | None) -> Batch:
        if not wait_for([self._pending[0]], self._dispatcher, timeout):
            raise multiprocessing.TimeoutError
        return self._pending.popleft()


class UnorderedIMapIterator(IMapIterator):
    """Results in the order in which they come."""

    def _take(self, timeout: float | None) -> Batch:
        if not self._settled:
            pending = list(self._pending)
            if not _wait(pending, self._dispatcher, 1, timeout):
                raise multiprocessing.TimeoutError
            self._pending.clear()
            for batch in pending:
                (self._settled if batch.is_settled() else self._pending).append(batch)
        return self._settled.popleft()
