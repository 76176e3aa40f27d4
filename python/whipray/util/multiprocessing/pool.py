"""The pool."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from whipray import cloudpickle
from whipray._cluster import cluster_resources
from whipray._init import init, is_initialized
from whipray._objects import get, put
from whipray._remote import remote
from whipray.util.multiprocessing.batch_process import BatchProcess, Payload, PoolTaskError
from whipray.util.multiprocessing.dispatch import Batch, Dispatcher, Function
from whipray.util.multiprocessing.results import (
    AsyncResult,
    CallbackThread,
    IMapIterator,
    OrderedIMapIterator,
    UnorderedIMapIterator,
)

__all__ = [
    "AsyncResult",
    "IMapIterator",
    "OrderedIMapIterator",
    "Pool",
    "PoolTaskError",
    "UnorderedIMapIterator",
]

RAY_ADDRESS_ENV = "RAY_ADDRESS"

logger = logging.getLogger(__name__)

_INLINE_PAYLOAD_BYTES = 4096
"""A pickled function up to this size travels with every batch."""

_FUNCTIONS = 64
"""Functions of which the pool knows how long they take."""

_BATCHES_PER_PROCESS = 4
"""What a call is cut into where it does not say: enough batches to even out their lengths."""


_Iterator = TypeVar("_Iterator", bound=IMapIterator)


class Pool:
    """Processes of the cluster that call functions, with the interface of multiprocessing.Pool.

    The pool connects to a cluster where the program has not: to ``ray_address``, or to that in the
    environment variable ``RAY_ADDRESS``, else to a new one on this machine.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] | None = None,
        maxtasksperchild: int | None = None,
        context: Any = None,
        ray_address: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
    ) -> None:
        """``processes`` is by default the number of CPUs of the cluster. Each of them calls
        ``initializer(*initargs)`` first, and is replaced after ``maxtasksperchild`` batches. They
        are actors with the options ``ray_remote_args``.

        Raises ValueError for less than one process, more than the cluster has CPUs, and less than
        one batch; ActorDiedError where the initializer raises.
        """
        if context is not None:
            logger.warning(
                "A pool on a cluster has no start method: the argument 'context' is ignored."
            )
        is_number = isinstance(maxtasksperchild, int)
        if maxtasksperchild is not None and (not is_number or maxtasksperchild <= 0):
            raise ValueError("maxtasksperchild must be a positive int or None")
        count = _connect(processes, ray_address)
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        actor_class = remote(BatchProcess).options(**(ray_remote_args or {}))
        arguments = tuple(initargs or ())

        def start_process() -> Any:
            return actor_class.remote(initializer, arguments)

        self._dispatcher = Dispatcher(start_process, count, maxtasksperchild)
        self._callbacks = CallbackThread()
        self._functions: dict[tuple[bytes, bool], Function] = {}
        if initializer is not None:
            # Without one there is nothing to be seen of it, and the first calls need not wait.
            try:
                get(self._dispatcher.starts())
            except BaseException:
                self.terminate()
                raise

    # ---- one call ------------------------------------------------------------------------------

    def apply(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """The result of ``func(*args, **kwargs)``. Raises what it raises."""
        return self.apply_async(func, args, kwargs).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        callback: Callable[[Any], None] | None = None,
        error_callback: Callable[[Exception], None] | None = None,
    ) -> AsyncResult:
        """Call ``func(*args, **kwargs)``; then ``callback(result)`` or ``error_callback(error)``,
        in a thread of the pool."""
        self._check_running()
        batch = Batch(self._function(func, is_spread=True), [(tuple(args or ()), kwargs)])
        return self._run([batch], callback, error_callback, is_single=True)

    # ---- many calls ----------------------------------------------------------------------------

    def map(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """``[func(item) for item in iterable]``, in batches of ``chunksize``.

        Raises what a call raises, the first in the order of the items.
        """
        results: list[Any] = self._map(func, iterable, chunksize, is_spread=False).get()
        return results

    def map_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], None] | None = None,
        error_callback: Callable[[Exception], None] | None = None,
    ) -> AsyncResult:
        """The same without waiting; then ``callback(results)`` or ``error_callback(error)``, in a
        thread of the pool."""
        return self._map(func, iterable, chunksize, False, callback, error_callback)

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
    ) -> list[Any]:
        """As :meth:`map`, with ``func(*item)``."""
        results: list[Any] = self._map(func, iterable, chunksize, is_spread=True).get()
        return results

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        callback: Callable[[list[Any]], None] | None = None,
        error_callback: Callable[[Exception], None] | None = None,
    ) -> AsyncResult:
        """As :meth:`map_async`, with ``func(*item)``."""
        return self._map(func, iterable, None, True, callback, error_callback)

    def imap(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> OrderedIMapIterator:
        """An iterator over the results in the order of the items, which are taken as they are
        needed."""
        return self._imap(OrderedIMapIterator, func, iterable, chunksize)

    def imap_unordered(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> UnorderedIMapIterator:
        """The same with the results in the order in which they come."""
        return self._imap(UnorderedIMapIterator, func, iterable, chunksize)

    # ---- the end -------------------------------------------------------------------------------

    def close(self) -> None:
        """Take no more calls; the processes end after those that they have."""
        self._dispatcher.close()

    def terminate(self) -> None:
        """End the processes at once. Calls under way raise RayActorError."""
        self._dispatcher.terminate()

    def join(self) -> None:
        """Wait for the end of all processes. Raises ValueError before :meth:`close` or
        :meth:`terminate`."""
        self._dispatcher.join()

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(self, *exception: object) -> None:
        self.terminate()

    def __reduce__(self) -> Any:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    # ---- how -----------------------------------------------------------------------------------

    def _check_running(self) -> None:
        if self._dispatcher.is_closed:
            raise ValueError("Pool not running")

    def _function(self, func: Callable[..., Any], is_spread: bool) -> Function:
        """The function as it is now: what it refers to may change from call to call."""
        pickled = cloudpickle.dumps(func)
        key = (pickled, is_spread)
        function = self._functions.get(key)
        if function is None:
            payload: Payload = pickled
            if len(pickled) > _INLINE_PAYLOAD_BYTES:
                payload = [put(pickled)]
            function = Function(payload, is_spread)
            if len(self._functions) >= _FUNCTIONS:
                self._functions.clear()
            self._functions[key] = function
        return function

    def _map(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None,
        is_spread: bool,
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[Exception], Any] | None = None,
    ) -> AsyncResult:
        self._check_running()
        items = list(iterable)
        if chunksize is None:
            chunksize = -(-len(items) // (self._dispatcher.processes * _BATCHES_PER_PROCESS))
            chunksize = max(1, chunksize)
        assert chunksize > 0, f"chunksize must be at least 1, not {chunksize}"
        function = self._function(func, is_spread)
        if is_spread:
            items = [(tuple(item), None) for item in items]
        batches = [
            Batch(function, items[start : start + chunksize])
            for start in range(0, len(items), chunksize)
        ]
        return self._run(batches, callback, error_callback, is_single=False)

    def _run(
        self,
        batches: list[Batch],
        callback: Callable[[Any], Any] | None,
        error_callback: Callable[[Exception], Any] | None,
        is_single: bool,
    ) -> AsyncResult:
        result = AsyncResult(
            batches, self._dispatcher, self._callbacks, callback, error_callback, is_single
        )
        self._dispatcher.submit(batches)
        return result

    def _imap(
        self,
        kind: type[_Iterator],
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None,
    ) -> _Iterator:
        self._check_running()
        if chunksize is None:
            chunksize = 1
        assert chunksize > 0, f"chunksize must be at least 1, not {chunksize}"
        return kind(self._dispatcher, self._function(func, is_spread=False), iterable, chunksize)


def _connect(processes: int | None, address: str | None) -> int:
    """Connect where that was not done; the number of processes.

    Raises ValueError where the cluster has too few CPUs.
    """
    if processes is not None and processes <= 0:
        raise ValueError("Processes in the pool must be >0.")
    if not is_initialized():
        address = address or os.environ.get(RAY_ADDRESS_ENV)
        if address is None:
            init(num_cpus=processes)
        else:
            init(address=address)
    cpus = int(cluster_resources().get("CPU", 0))
    if processes is None:
        processes = cpus
    if processes > cpus:
        raise ValueError(
            f"Tried to start a pool with {processes} processes on an existing ray cluster, "
            f"but there are only {cpus} CPUs in the ray cluster."
        )
    if processes == 0:
        raise ValueError("Processes in the pool must be >0.")
    return processes
