"""The comparison's side of an engine process: starts it, asks it, ends it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import processes

ENGINE_PROCESS = Path(__file__).with_name("engine_process.py")
EXIT_TIMEOUT_SECONDS = 20.0
SHOWN_LOG_LINES = 5


class EngineError(Exception):
    """An engine could not do what it was asked to do; the text says why."""


@dataclass(frozen=True)
class EngineChoice:
    """An engine to compare: how it is called, its interpreter and its module."""

    label: str
    python: str
    module: str


def import_problem(choice: EngineChoice) -> str | None:
    """Why the interpreter of `choice` cannot import its module, in one line; None if it can."""
    command = [choice.python, "-c", f"import {choice.module}"]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    return None if run.returncode == 0 else run.stderr.strip().rpartition("\n")[2]


class EngineProcess:
    """A running interpreter with one engine. Use it as a context manager."""

    def __init__(
        self, choice: EngineChoice, timeout: float, environment: Mapping[str, str] | None = None
    ) -> None:
        """Starts the process, with the variables of `environment` besides this process's own.

        `timeout` is the longest that one request may take, in seconds.
        """
        self.choice = choice
        self._timeout = timeout
        self._mark = uuid.uuid4().hex
        self._log = tempfile.TemporaryFile()
        ours, theirs = socket.socketpair()
        ours.settimeout(timeout)
        with theirs:
            self._process = subprocess.Popen(
                [choice.python, str(ENGINE_PROCESS), choice.module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, **(environment or {}), processes.MARK_VARIABLE: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
            )
        self._socket = ours
        self._stream = ours.makefile("rw")

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Sends a request and returns its answer.

        Raises `EngineError` if the engine fails, takes longer than the timeout or dies; after the
        last two the process is of no more use.
        """
        try:
            self._stream.write(json.dumps({"do": do, **arguments}) + "\n")
            self._stream.flush()
            text = self._stream.readline()
        except TimeoutError:
            self._kill()
            raise EngineError(f"no answer to {do!r} in {self._timeout:.0f} s") from None
        except OSError:
            text = ""
        if not text:
            self._kill()
            raise EngineError(f"the process died in {do!r}; {self._last_words()}")
        answer: dict[str, Any] = json.loads(text)
        error: str | None = answer.get("error")
        if error is not None:
            raise EngineError(error)
        return answer

    @property
    def usable(self) -> bool:
        """Whether the process still answers."""
        return self._process.poll() is None

    def settled_footprint(self) -> processes.Footprint:
        """Processes and memory of the engine without its driver, once they have settled."""
        return processes.settled_footprint(self._mark, self._process.pid)

    def driver_megabytes(self) -> float:
        """Proportional set size of the driver, in megabytes."""
        return processes.proportional_set_size(self._process.pid)

    def end(self) -> list[int]:
        """Ends the engine and returns the processes that outlive it (which are then killed)."""
        self._stream.close()
        self._socket.close()
        try:
            self._process.wait(EXIT_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        left = processes.outliving(self._mark, self._process.pid, EXIT_TIMEOUT_SECONDS)
        processes.kill(left)
        self._log.close()
        return left

    def _kill(self) -> None:
        # The workers first: once the driver is gone, they may be adopted by another parent.
        processes.kill(processes.marked(self._mark, self._process.pid))
        self._process.kill()
        self._process.wait()

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").splitlines()
        return "its last output: " + (" / ".join(lines[-SHOWN_LOG_LINES:]) or "none")
