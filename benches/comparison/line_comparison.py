"""Measures the lines of the micro-benchmark on both engines in short alternating rounds."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable

from .engine import EngineChoice, EngineError, EngineProcess
from .engine_process import WORKLOADS_NAME
from .figures import Row


@dataclass(frozen=True)
class Pace:
    """How long is measured: seconds of a round, number of rounds, longest answer in seconds."""

    seconds: float
    rounds: int
    timeout: float


class _Side:
    """One engine during a series of lines; its process starts when needed, again if lost."""

    def __init__(self, choice: EngineChoice, pace: Pace) -> None:
        self.label = choice.label
        self._choice = choice
        self._pace = pace
        self._process: EngineProcess | None = None
        self._session = ""

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        if self._process is None:
            raise EngineError("the engine is not running")
        return self._process.ask(do, **arguments)

    def prepare(self, line: Any) -> str | None:
        """Prepares a line in a session of its kind, or returns what the engine lacks for it."""
        if self._process is not None and not self._process.usable:
            self.end()
        if self._process is None:
            # Loaded by path, after this module: see `engine_process.load`.
            environment = importlib.import_module(f"{WORKLOADS_NAME}.session").environment
            self._process = EngineProcess(
                self._choice, self._pace.timeout, environment(line.session)
            )
            self._session = ""
            self._process.ask("import")
        missing: str | None = self._process.ask("check", line=line.name)["missing"]
        if missing is not None:
            return missing
        if line.session != self._session:
            self._session = ""
            self._process.ask("open", kind=line.session)
            self._session = line.session
        self._process.ask("prepare", line=line.name, warm_up=self._pace.seconds / 2)
        return None

    def end(self) -> None:
        if self._process is not None:
            self._process.end()
        self._process, self._session = None, ""


def compare_lines(
    lines: Sequence[Any],
    choices: list[EngineChoice],
    pace: Pace,
    copy_rates: dict[str, float],
    rows: list[Row],
    progress: Callable[[str], None],
) -> None:
    """Appends rows in the order of `lines`, at once, and fills them as it goes.

    `copy_rates` holds the warm copy's rate by name of a line.

    Lines marked `alone` run after the others, with one engine at a time: two stores of gigabytes
    need not fit into the machine's memory, and two client servers want the same ports.
    """
    made = {line.name: _row(line, copy_rates) for line in lines}
    rows.extend(made.values())
    sides = [_Side(choice, pace) for choice in choices]
    together = [line for line in lines if not line.alone]
    kinds = dict.fromkeys(line.session for line in lines if line.alone)
    alone = [[line for line in lines if line.alone and line.session == kind] for kind in kinds]
    series = [(sides, together), *(([side], group) for group in alone for side in sides)]
    for measured, group in series:
        try:
            for line in group:
                progress(f"{line.name}: {' and '.join(side.label for side in measured)}")
                _alternate(measured, line, made[line.name], pace)
        finally:
            for side in measured:
                side.end()


def _row(line: Any, copy_rates: dict[str, float]) -> Row:
    unit = f"{line.unit}/s" if line.unit == "GB" else "/s"
    return Row(line.name, unit, more_is_better=True, copy_rate=copy_rates.get(line.name))


def _alternate(sides: list[_Side], line: Any, row: Row, pace: Pace) -> None:
    ready = [side for side in sides if _prepare(side, line, row)]
    for number in range(pace.rounds):
        for side in ready if number % 2 == 0 else ready[::-1]:
            if side.label in row.notes:
                continue
            try:
                row.add(side.label, side.ask("round", seconds=pace.seconds)["rate"])
            except EngineError as problem:
                row.notes[side.label] = f"failed: {problem}"
    for side in ready:
        try:
            side.ask("release")
        except EngineError as problem:
            row.notes[side.label] = f"failed: {problem}"


def _prepare(side: _Side, line: Any, row: Row) -> bool:
    try:
        missing = side.prepare(line)
    except EngineError as problem:
        row.notes[side.label] = f"failed: {problem}"
        return False
    if missing is not None:
        row.notes[side.label] = f"skipped, there is no {missing}"
        return False
    return True
