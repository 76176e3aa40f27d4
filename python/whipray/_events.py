"""The thread of a driver that shows what its workers print, and the engine's warnings."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

from whipray import _core
from whipray._log_deduplication import Deduplicator

_IDLE_SECONDS = 30.0
_BUSY_SECONDS = 0.5
FLUSH_SECONDS = 2.0
"""How long the end of a connection waits for what the workers have printed."""

_BAR = "__ray_tqdm_magic_token__"
"""In a line that is a progress bar."""

_CYAN, _DEFAULT_COLOUR = "\x1b[36m", "\x1b[0m"
_COLOURS = tuple(f"\x1b[{code}m" for code in (36, 94, 95, 92, 93, 96, 35, 33, 34, 32, 90))
"""One for each process, where ``RAY_COLOR_PREFIX=1`` asks for that."""


class EventReader:
    """Reads events until the connection ends, and prints them."""

    def __init__(self, log_to_driver: bool, with_prefix: bool) -> None:
        """Starts the thread. Without ``log_to_driver`` only warnings are shown.

        ``with_prefix``: lines of workers begin with who wrote them, unless the environment
        forbids that.
        """
        self._logs = log_to_driver
        self._deduplicator = Deduplicator.of_environment()
        self._with_prefix = with_prefix and (
            os.environ.get("RAY_DISABLE_WORKER_LOG_PREFIX", "0") in ("", "0")
        )
        self._colour_prefix = os.environ.get("RAY_COLOR_PREFIX")
        self._ignores_unhandled = os.environ.get("RAY_IGNORE_UNHANDLED_ERRORS", "0") == "1"
        self._lock = threading.Lock()
        self._shows = threading.Event()
        self._shows.set()
        self._thread = threading.Thread(target=self._run, name="whipray-events", daemon=True)
        self._thread.start()

    def flush(self) -> None:
        """Show what the workers have printed until now."""
        if self._logs:
            _core.flush_logs(FLUSH_SECONDS)
            # What the thread has not taken yet is shown here: nothing can be taken after the end.
            self._show_all(_core.next_events(0.0) or [])

    def pause(self) -> None:
        """Show nothing until :meth:`resume`."""
        self._shows.clear()

    def resume(self) -> None:
        """Go on after :meth:`pause`, with what came meanwhile."""
        self._shows.set()

    def end(self) -> None:
        """Wait until everything was printed; the connection must have ended."""
        self._thread.join(FLUSH_SECONDS)

    def _run(self) -> None:
        while True:
            events = _core.next_events(
                _BUSY_SECONDS if self._deduplicator.is_holding else _IDLE_SECONDS
            )
            self._shows.wait()
            if events is None:
                break
            self._show_all(events)
        with self._lock:
            _print_lines(self._deduplicator.rest())

    def _show_all(self, events: list[tuple[str, Any]]) -> None:
        with self._lock:
            for kind, content in events:
                self._show(kind, content)
            _print_lines(self._deduplicator.due(time.monotonic()))

    def _show(self, kind: str, content: Any) -> None:
        if kind == "warning":
            show_warning(content)
        elif kind == "unhandled" and not self._ignores_unhandled:
            hint = "suppress with 'RAY_IGNORE_UNHANDLED_ERRORS=1'"
            _write(True, f"Unhandled error ({hint}): {content}\n")
        elif kind == "log" and self._logs:
            pid, ip, name, is_error, lines = content
            prefix = self._prefix(pid, ip, name, is_error)
            now = time.monotonic()
            shown = []
            for line in lines:
                if _BAR in line:
                    from whipray.experimental.tqdm_ray import take_bar

                    rest = take_bar(line)
                    if rest is None:
                        continue
                    line = rest
                if self._deduplicator.admits(pid, is_error, prefix, line, now):
                    shown.append(f"{prefix}{line}\n")
            _write(is_error, "".join(shown))

    def _prefix(self, pid: int, ip: str, name: str, is_error: bool) -> str:
        if not self._with_prefix:
            return ""
        from whipray import _session

        elsewhere = f", ip={ip}" if ip != _session.current.info.get("node_ip", ip) else ""
        text = f"({name} pid={pid}{elsewhere})" if name else f"(pid={pid}{elsewhere})"
        colour = self._colour(pid, sys.stderr if is_error else sys.stdout)
        return f"{colour}{text}{_DEFAULT_COLOUR} " if colour else f"{text} "

    def _colour(self, pid: int, stream: Any) -> str:
        if self._colour_prefix == "1":
            return _COLOURS[pid % len(_COLOURS)]
        return _CYAN if self._colour_prefix != "0" and _is_terminal(stream) else ""


def show_warning(text: str) -> None:
    """Write a sentence of the engine's to standard error."""
    _write(True, f"(whipray) {text}\n")


def _print_lines(held: list[tuple[bool, str]]) -> None:
    for is_error, line in held:
        _write(is_error, line + "\n")


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False  # Replaced by something else, or closed.


def _write(is_error: bool, text: str) -> None:
    stream = sys.stderr if is_error else sys.stdout
    if not text or stream is None:
        return
    bars = sys.modules.get("whipray.experimental.tqdm_ray")
    manager = bars.instance() if bars is not None else None
    if manager is not None:
        manager.hide_bars()
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        pass  # The user's stream is closed; there is nobody left to tell.
    finally:
        if manager is not None:
            manager.unhide_bars()
