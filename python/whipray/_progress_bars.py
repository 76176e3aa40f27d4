"""How a driver shows progress bars, those of its workers too.

On a terminal the bars are its last lines, and are written again when something changes. Elsewhere
a bar says in a line of its own, from time to time and at its end, how far it is.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

PLAIN_SECONDS = 10.0
"""The time between two lines of a bar where there is no terminal."""

_ERASE_LINE = "\r\x1b[2K"
_LINE_UP = "\x1b[1A"
_MOST_BARS = 30
"""Bars on the screen at once; further ones are counted."""


@dataclass
class Bar:
    """What is known of one bar. Times are in seconds."""

    state: dict[str, Any]
    since: float
    order: int
    last_line: float

    def text(self, now: float, prefix: str, columns: int | None) -> str:
        """The bar in one line: of ``columns`` characters, or without the drawing for None."""
        state = self.state
        count, total = state.get("x") or 0, state.get("total")
        unit = state.get("unit") or "it"
        head = f"{prefix}{state['desc']}: " if state.get("desc") else prefix
        seconds = max(0.0, now - self.since)
        rate = count / seconds if seconds > 0 and count else None
        speed = "?" if rate is None else _number(rate)
        if not total:
            return f"{head}{_number(count)}{unit} [{_clock(seconds)}, {speed}{unit}/s]"[:columns]
        part = min(1.0, count / total)
        left = "?" if rate is None else _clock((total - count) / rate)
        tail = f" {_number(count)}/{_number(total)} [{_clock(seconds)}<{left}, {speed}{unit}/s]"
        head += f"{part:4.0%}"
        if columns is None:
            return head + tail
        width = min(40, columns - len(head) - len(tail) - 3)
        if width < 4:
            return (head + tail)[:columns]
        return f"{head}|{'█' * int(part * width):<{width}}|{tail}"


class BarManager:
    """All bars that this process shows."""

    def __init__(
        self,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        is_enabled: bool | None = None,
    ) -> None:
        """``stream`` is standard error by default. ``RAY_TQDM=0`` shows none."""
        self._stream = stream
        self._clock = clock
        if is_enabled is None:
            is_enabled = os.environ.get("RAY_TQDM", "1") not in ("", "0")
        self._is_enabled = is_enabled
        self._lock = threading.RLock()
        self._bars: dict[str, Bar] = {}
        self._processes: dict[tuple[str, int], int] = {}
        self._lines_shown = 0
        self._hidden = 0
        self.num_hides = 0
        """How often the bars were hidden."""

    @property
    def in_hidden_state(self) -> bool:
        """Whether the bars are hidden now."""
        return self._hidden > 0

    @property
    def bar_groups(self) -> dict[tuple[str, int], list[Bar]]:
        """The bars that are not closed, by the address and number of their process."""
        groups: dict[tuple[str, int], list[Bar]] = {}
        for bar in list(self._bars.values()):
            process = (bar.state.get("ip", ""), bar.state.get("pid", 0))
            groups.setdefault(process, []).append(bar)
        return groups

    def process_state_update(self, state: dict[str, Any]) -> None:
        """Show what a bar tells of itself: its ``uuid``, ``x`` of ``total``, ``desc``, ``unit``,
        ``pos`` among the bars of its process (``ip`` and ``pid``), and whether it is ``closed``."""
        if not self._is_enabled:
            return
        with self._lock:
            now = self._clock()
            bar = self._bars.get(state["uuid"])
            if bar is None:
                if state.get("closed") and not state.get("x"):
                    return
                bar = Bar(state, now, len(self._processes), now)
                process = (state.get("ip", ""), state.get("pid", 0))
                bar.order = self._processes.setdefault(process, len(self._processes))
                self._bars[state["uuid"]] = bar
            bar.state = state
            if self._is_terminal():
                self._erase()
                if state.get("closed"):
                    self._write(self._line(self._bars.pop(state["uuid"]), now) + "\n")
                if not self._hidden:
                    self._draw(now)
            elif state.get("closed") or now - bar.last_line >= PLAIN_SECONDS:
                bar.last_line = now
                self._write(bar.text(now, self._prefix(state), None) + "\n")
                if state.get("closed"):
                    del self._bars[state["uuid"]]

    def hide_bars(self) -> None:
        """Take the bars off the screen, so that something can be printed."""
        with self._lock:
            self._hidden += 1
            self.num_hides += 1
            self._erase()

    def unhide_bars(self) -> None:
        """The end of :meth:`hide_bars`."""
        with self._lock:
            self._hidden = max(0, self._hidden - 1)
            if not self._hidden and self._is_terminal():
                self._draw(self._clock())

    def _draw(self, now: float) -> None:
        ordered = sorted(
            self._bars.values(), key=lambda bar: (bar.order, bar.state.get("pos") or 0, bar.since)
        )
        lines = [self._line(bar, now) for bar in ordered[:_MOST_BARS]]
        if len(ordered) > _MOST_BARS:
            lines.append(f"... and {len(ordered) - _MOST_BARS} more")
        self._write("".join(line + "\n" for line in lines))
        self._lines_shown = len(lines)

    def _erase(self) -> None:
        if self._lines_shown:
            self._write((_LINE_UP + _ERASE_LINE) * self._lines_shown)
            self._lines_shown = 0

    def _line(self, bar: Bar, now: float) -> str:
        return bar.text(now, self._prefix(bar.state), self._columns() - 1)

    @staticmethod
    def _prefix(state: dict[str, Any]) -> str:
        pid = state.get("pid")
        return "" if pid in (None, os.getpid()) else f"(pid={pid}) "

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._target().fileno()).columns or 80
        except (AttributeError, OSError, ValueError):
            return 80

    def _target(self) -> Any:
        return self._stream or sys.stderr

    def _is_terminal(self) -> bool:
        try:
            return bool(self._target().isatty())
        except (AttributeError, ValueError):
            return False

    def _write(self, text: str) -> None:
        try:
            self._target().write(text)
            self._target().flush()
        except (AttributeError, OSError, ValueError):
            pass  # Closed or replaced: there is nobody left to show them to.


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"


def _number(value: float) -> str:
    """Four characters or so: ``12``, ``1.5``, ``23.4k``."""
    for unit in ("", "k", "M", "G", "T"):
        if abs(value) < 1000 or unit == "T":
            break
        value /= 1000
    if value == int(value):
        return f"{int(value)}{unit}"
    return f"{value:.3g}{unit}"
