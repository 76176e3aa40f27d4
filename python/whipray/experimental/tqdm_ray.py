"""Progress bars that may be anywhere in the cluster: the driver shows them all.

``from whipray.experimental.tqdm_ray import tqdm`` in the place of ``from tqdm import tqdm``.
A bar of a worker is a line of its standard output, which the driver takes out of what it prints.
"""

from __future__ import annotations

import builtins
import functools
import json
import os
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, Optional

from whipray import _session
from whipray._progress_bars import BarManager

__all__ = ["RAY_TQDM_MAGIC", "ProgressBarState", "instance", "safe_print", "tqdm"]

ProgressBarState = dict[str, Any]

RAY_TQDM_MAGIC = "__ray_tqdm_magic_token__"
"""What a line has that is a bar."""

_print = builtins.print

_LINE_START = f'{{"__magic_token__": "{RAY_TQDM_MAGIC}"'


class tqdm:
    """A bar over an iterable, or moved by :meth:`update`: what tqdm's own is mostly used for."""

    DEFAULT_FLUSH_INTERVAL_SECONDS = 1.0

    def __init__(
        self,
        iterable: Optional[Iterable[Any]] = None,
        desc: Optional[str] = None,
        total: Optional[int] = None,
        unit: Optional[str] = None,
        position: Optional[int] = None,
        flush_interval_s: Optional[float] = None,
    ) -> None:
        """``total`` is by default the length of the iterable, if it has one. ``position`` orders
        the bars of one process. Changes are shown every ``flush_interval_s`` seconds, 1 by
        default."""
        self._iterable = iterable
        if total is None and iterable is not None:
            try:
                total = len(iterable)  # type: ignore[arg-type]
            except TypeError:
                total = None
        self._desc = desc or ""
        self._total = total
        self._unit = unit or "it"
        self._pos = position or 0
        self._ip = _session.current.info.get("node_ip", "")
        self._pid = os.getpid()
        self._uuid = uuid.uuid4().hex
        self._x = 0
        self._closed = False
        if flush_interval_s is None:
            flush_interval_s = self.DEFAULT_FLUSH_INTERVAL_SECONDS
        self._flush_interval_s = flush_interval_s
        self._last_flush_time = 0.0
        self._tell(True)

    def __iter__(self) -> Iterator[Any]:
        """Raises ValueError for a bar without an iterable."""
        if self._iterable is None:
            raise ValueError("this bar was made without an iterable: it is moved by update()")
        for item in self._iterable:
            yield item
            self.update(1)
        self.close()

    def set_description(self, desc: str) -> None:
        """Change the text in front."""
        self._desc = desc
        self._tell(True)

    def update(self, n: int = 1) -> None:
        """Move on by ``n``."""
        self._x += n
        self._tell(self._x == self._total)

    def refresh(self) -> None:
        """Show it as it is now."""
        self._tell(True)

    def close(self) -> None:
        """The end of the bar: it stays as it is now."""
        if not self._closed:
            self._closed = True
            _deliver(self._get_state())

    @property
    def n(self) -> int:
        """How far it is."""
        return self._x

    @n.setter
    def n(self, value: int) -> None:
        self._x = value

    @property
    def total(self) -> Optional[int]:
        """How far it goes; None where nobody knows."""
        return self._total

    @total.setter
    def total(self, value: Optional[int]) -> None:
        self._total = value

    def _tell(self, at_once: bool) -> None:
        now = time.monotonic()
        if self._closed or not (at_once or now - self._last_flush_time >= self._flush_interval_s):
            return
        self._last_flush_time = now
        _deliver(self._get_state())

    def _get_state(self) -> ProgressBarState:
        return {
            "__magic_token__": RAY_TQDM_MAGIC,
            "x": self._x,
            "pos": self._pos,
            "desc": self._desc,
            "total": self._total,
            "unit": self._unit,
            "ip": self._ip,
            "pid": self._pid,
            "uuid": self._uuid,
            "closed": self._closed,
        }


def _deliver(state: ProgressBarState) -> None:
    if _session.current.role == "worker":
        sys.stdout.write(json.dumps(state) + "\n")
    else:
        instance().process_state_update(state)


@functools.lru_cache(maxsize=1)
def instance() -> BarManager:
    """What shows the bars of this process, and in a driver those of its workers.

    From the first call on ``print`` is :func:`safe_print`, unless ``RAY_TQDM_PATCH_PRINT=0``: a
    program need not know that its workers have bars.
    """
    if os.environ.get("RAY_TQDM_PATCH_PRINT", "1") == "1":
        builtins.print = safe_print
    return BarManager()


def safe_print(*args: Any, **kwargs: Any) -> None:
    """``print`` above the bars instead of into them."""
    manager = instance()
    manager.hide_bars()
    try:
        _print(*args, **kwargs)
    finally:
        manager.unhide_bars()


def take_bar(line: str) -> Optional[str]:
    """Show the bar that a worker's line is about; the text before it, None where there is none.

    A line that only looks like a bar comes back as it is.
    """
    start = line.find(_LINE_START)
    if start < 0:
        return line
    try:
        state = json.loads(line[start:])
    except ValueError:
        return line
    if "uuid" not in state:
        return line
    instance().process_state_update(state)
    return line[:start] or None
