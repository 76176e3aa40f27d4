"""A pool of actors that share a stream of work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from whipray._core import ObjectRef
from whipray._objects import get, wait

__all__ = ["ActorPool"]

_Call = Callable[[Any, Any], ObjectRef[Any]]


class ActorPool:
    """Gives each value to an actor that has nothing to do.

    Functions given to it take an actor and a value and return the reference of a call:
    ``pool.map(lambda actor, value: actor.double.remote(value), values)``.
    """

    def __init__(self, actors: Iterable[Any]) -> None:
        """``actors`` are handles; each works on one value at a time."""
        self._idle = deque(actors)
        self._actor_of: dict[ObjectRef[Any], Any] = {}
        self._reference_of: dict[int, ObjectRef[Any]] = {}
        self._number_of: dict[ObjectRef[Any], int] = {}
        self._submitted = 0
        self._next = 0
        self._waiting: deque[tuple[_Call, Any]] = deque()

    def map(self, fn: _Call, values: Iterable[Any]) -> Iterator[Any]:
        """Results for all values, in the order of the values.

        Results of earlier :meth:`submit` calls are dropped. Raises what a call raises.
        """
        self._start_over(fn, values)
        return self._all(self.get_next)

    def map_unordered(self, fn: _Call, values: Iterable[Any]) -> Iterator[Any]:
        """Results for all values, in the order in which they come.

        Results of earlier :meth:`submit` calls are dropped. Raises what a call raises.
        """
        self._start_over(fn, values)
        return self._all(self.get_next_unordered)

    def _start_over(self, fn: _Call, values: Iterable[Any]) -> None:
        while self.has_next():
            try:
                self.get_next_unordered(timeout=0)
            except TimeoutError:
                continue
            except Exception:
                continue  # The failure of a call whose result nobody wants any more.
        for value in values:
            self.submit(fn, value)

    def _all(self, following: Callable[[], Any]) -> Iterator[Any]:
        while self.has_next():
            yield following()

    def submit(self, fn: _Call, value: Any) -> None:
        """Give a value to an idle actor, or keep it until one is idle."""
        if not self._idle:
            self._waiting.append((fn, value))
            return
        actor = self._idle.popleft()
        reference = fn(actor, value)
        self._actor_of[reference] = actor
        self._reference_of[self._submitted] = reference
        self._number_of[reference] = self._submitted
        self._submitted += 1

    def has_next(self) -> bool:
        """Whether there are results to come."""
        return bool(self._actor_of)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The result of the next value in the order of submission.

        Raises StopIteration where there is none, TimeoutError after ``timeout`` seconds (with
        ``ignore_if_timedout`` the result is given up then), and what the call raises.
        """
        if not self.has_next():
            raise StopIteration("No more results to get")
        while self._next not in self._reference_of:
            self._next += 1  # Already returned out of order.
        reference = self._reference_of[self._next]
        if not wait([reference], timeout=timeout)[0]:
            if ignore_if_timedout:
                self._settle(reference)
                raise TimeoutError(
                    f"Timed out waiting for result. The task {reference} has been ignored."
                )
            raise TimeoutError("Timed out waiting for result")
        self._settle(reference)
        return get(reference)

    def get_next_unordered(
        self, timeout: float | None = None, ignore_if_timedout: bool = False
    ) -> Any:
        """The result that comes next. Raises as :meth:`get_next`; with ``ignore_if_timedout`` the
        oldest call is given up after the timeout."""
        if not self.has_next():
            raise StopIteration("No more results to get")
        ready, _ = wait(list(self._actor_of), num_returns=1, timeout=timeout)
        if not ready:
            if ignore_if_timedout:
                oldest = next(iter(self._actor_of))
                self._settle(oldest)
                raise TimeoutError(
                    f"Timed out waiting for result. The task {oldest} has been ignored."
                )
            raise TimeoutError("Timed out waiting for result")
        self._settle(ready[0])
        return get(ready[0])

    def _settle(self, reference: ObjectRef[Any]) -> None:
        actor = self._actor_of.pop(reference)
        del self._reference_of[self._number_of.pop(reference)]
        self._return(actor)

    def _return(self, actor: Any) -> None:
        self._idle.append(actor)
        if self._waiting:
            self.submit(*self._waiting.popleft())

    def has_free(self) -> bool:
        """Whether an actor is idle and no value waits for one."""
        return bool(self._idle) and not self._waiting

    def pop_idle(self) -> Any:
        """Take an idle actor out of the pool; None where there is none."""
        return self._idle.popleft() if self.has_free() else None

    def push(self, actor: Any) -> None:
        """Add an actor. Raises ValueError for one that the pool has already."""
        if actor in self._idle or actor in self._actor_of.values():
            raise ValueError("Actor already belongs to current ActorPool")
        self._return(actor)
