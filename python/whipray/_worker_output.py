"""The standard streams of a worker: files, marked with whose output follows.

The node reads the files and forwards their lines to the driver. A line ``:task_name:NAME`` or
``:actor_name:NAME`` says whose lines come next; it is written before the first output of each.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from whipray import _core

_TASK, _ACTOR = ":task_name:", ":actor_name:"

_actor_name = ""


def name_actor(name: str) -> None:
    """From now on all output of this process is that of the actor of this name."""
    global _actor_name
    _actor_name = name.replace("\n", " ")


class MarkedStream(io.TextIOWrapper):
    """A text stream, flushed at each end of a line, with a marker where the writer changes."""

    _marker = ""
    _at_line_start = True

    def write(self, text: str) -> int:
        """Write text, after a marker where another task than the last one writes."""
        if not text:
            return 0
        self.mark()
        self._at_line_start = text.endswith("\n")
        return super().write(text)

    def mark(self) -> None:
        """Write the marker of the current task, unless the last output was its own."""
        marker = _ACTOR + _actor_name if _actor_name else _TASK + _core.current_name()
        if marker != self._marker:
            # Code outside of any task goes on under the last name.
            if marker != _TASK:
                self._marker = marker
                super().write(f"{'' if self._at_line_start else os.linesep}{marker}\n")
                self._at_line_start = True


def mark_before_children() -> None:
    """Have children that Python starts find the marker of their task in both files.

    What a child writes does not pass through :class:`MarkedStream`.
    """
    import _posixsubprocess

    start = _posixsubprocess.fork_exec

    def start_marked(*args: Any) -> int:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, MarkedStream):
                stream.mark()
        return start(*args)

    _posixsubprocess.fork_exec = start_marked


def open_standard_streams(folder: str, worker: str) -> None:
    """Send the standard output and error of this process, and of its children, to its files."""
    for descriptor, suffix in ((1, "out"), (2, "err")):
        path = os.path.join(folder, f"worker-{worker}-{os.getpid()}.{suffix}")
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        os.dup2(file, descriptor)
        os.close(file)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.close(null)
    sys.stdout, sys.stderr = _marked(1), _marked(2)
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc]


def _marked(descriptor: int) -> MarkedStream:
    raw = io.FileIO(descriptor, "w", closefd=False)
    return MarkedStream(
        io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )
