"""dask's own callbacks, such as the progress bar of ``dask.diagnostics``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dask.callbacks import unpack_callbacks

from whipray._core import ObjectRef
from whipray._objects import get, wait


class Watched:
    """Tells the callbacks which tasks run and which are through, as far as this process knows."""

    def __init__(self, callbacks: Any, graph: Any) -> None:
        """``callbacks`` are tuples of functions, as dask has them."""
        self._callbacks = callbacks
        self._graph = graph
        self.state: dict[str, Any] = {
            "waiting": {},
            "ready": [],
            "running": set(),
            "finished": set(),
            "cache": {},
        }

    def until_all_are_ready(self, results: dict[Any, Any]) -> None:
        """Call them task by task, where there are any; otherwise nobody waits here."""
        if not self._callbacks:
            return
        _, _, before, after, _ = unpack_callbacks(self._callbacks)
        state = self.state
        pending = {value: key for key, value in results.items() if isinstance(value, ObjectRef)}
        for key in pending.values():
            state["running"].add(key)
            for call in before:
                call(key, self._graph, state)
        references = list(pending)
        while references:
            (ready,), references = wait(references, num_returns=1)
            value = get(ready)
            key = pending[ready]
            state["running"].discard(key)
            state["finished"].add(key)
            for call in after:
                call(key, value, self._graph, state, None)


@contextmanager
def watch(callbacks: Any, graph: Any) -> Iterator[Watched]:
    """Calls what is to be called at the beginning and at the end."""
    watched = Watched(callbacks, graph)
    starts, start_states, _, _, ends = unpack_callbacks(callbacks)
    for call in starts:
        call(graph)
    for call in start_states:
        call(graph, watched.state)
    failed = True
    try:
        yield watched
        failed = False
    finally:
        for call in ends:
            call(graph, watched.state, failed)
