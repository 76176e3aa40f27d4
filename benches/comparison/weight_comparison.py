"""Start, memory and limits of each engine: everything that is no line of the micro-benchmark."""

from __future__ import annotations

import re
import subprocess
from functools import partial
from pathlib import Path
from typing import Callable

from .engine import EngineChoice, EngineError, EngineProcess
from .envelope import MEASUREMENTS, OURS_ALONE
from .figures import Row
from .processes import MEGABYTE

IMPORTS = 5
FURTHER_ACTORS = 8
"""More actors than the idle workers that a local cluster starts with on a small machine."""
ACTORS = 50
MANY_ACTORS = "a thousand actors"


class WeightComparison:
    """Appends to a list of rows. Where an engine fails, a row of its own says at what and why."""

    def __init__(
        self,
        choices: list[EngineChoice],
        timeout: float,
        rows: list[Row],
        progress: Callable[[str], None],
    ) -> None:
        self._choices = choices
        self._timeout = timeout
        self._progress = progress
        self._rows = rows

    def imports(self) -> None:
        """Import time in new interpreters, without the very first, which reads from disk."""
        program = (
            "import sys, time; start = time.perf_counter(); __import__(sys.argv[1]); "
            "print(time.perf_counter() - start)"
        )
        for number in range(IMPORTS + 1):
            for choice in self._choices:
                command = [choice.python, "-c", program, choice.module]
                self._progress(f"import of {choice.label}")
                run = subprocess.run(command, check=False, capture_output=True, text=True)
                row = self._row("import", "s")
                if run.returncode != 0:
                    row.notes[choice.label] = "failed: " + run.stderr.strip().rpartition("\n")[2]
                elif number > 0:
                    row.add(choice.label, float(run.stdout.split()[-1]))

    def starts(self, number: int) -> None:
        """`number` times: init(), the first task, shutdown()."""
        for _ in range(number):
            for choice in self._choices:
                self._guarded(choice, "start of", self._start)

    def weights(self) -> None:
        """Processes and memory of an idle cluster, and the price of actors."""
        for choice in self._choices:
            self._guarded(choice, "weight of", self._weight)

    def envelope(self, only: str) -> None:
        """The measurements of `envelope.py` whose names match, each in a new session."""
        for name in MEASUREMENTS:
            if not re.search(only, name):
                continue
            measure = partial(self._limit, name)
            for choice in self._choices[:1] if name in OURS_ALONE else self._choices:
                self._guarded(choice, f"{name} of", measure)
        if re.search(only, MANY_ACTORS):
            self._guarded(self._choices[0], f"{MANY_ACTORS} of", self._many_actors)

    def wheel(self, label: str, path: Path) -> None:
        """The size of a wheel in megabytes (10^6 bytes)."""
        self._row("wheel", "MB").add(label, path.stat().st_size / MEGABYTE)

    def _guarded(
        self, choice: EngineChoice, what: str, measure: Callable[[EngineProcess, str], None]
    ) -> None:
        self._progress(f"{what} {choice.label}")
        with EngineProcess(choice, self._timeout) as engine:
            try:
                engine.ask("import")
                measure(engine, choice.label)
            except EngineError as problem:
                self._row(f"{what} the engine", "").notes[choice.label] = f"failed: {problem}"

    def _start(self, engine: EngineProcess, label: str) -> None:
        opened = engine.ask("open", kind="local")
        self._row("init() of a local cluster", "s").add(label, opened["seconds"])
        first = engine.ask("first_task")
        self._row("first task after init()", "s").add(label, first["seconds"])
        closed = engine.ask("close")
        self._row("shutdown()", "s").add(label, closed["seconds"])
        left = engine.end()
        self._row("processes left after the driver's end", "").add(label, len(left))

    def _weight(self, engine: EngineProcess, label: str) -> None:
        engine.ask("open", kind="local")
        idle = engine.settled_footprint()
        self._row("processes of an idle local cluster", "").add(label, idle.processes)
        self._row("memory of an idle local cluster", "MB").add(label, idle.megabytes)
        self._row("memory of the idle driver", "MB").add(label, engine.driver_megabytes())
        engine.ask("actors", count=FURTHER_ACTORS)
        grown = engine.settled_footprint()
        processes = grown.processes - idle.processes
        if processes > 0:
            per_worker = (grown.megabytes - idle.megabytes) / processes
            self._row("memory per further idle worker", "MB").add(label, per_worker)
        engine.ask("open", kind="custom resource")
        seconds = engine.ask("actors", count=ACTORS)["seconds"]
        self._row(f"{ACTORS} actors created and called once", "s").add(label, seconds)
        rate = self._row("actors created and called once", "/s", more_is_better=True)
        rate.add(label, ACTORS / seconds)

    def _many_actors(self, engine: EngineProcess, label: str) -> None:
        engine.ask("open", kind="custom resource")
        seconds = engine.ask("actors", count=1000)["seconds"]
        self._row("1,000 actors created and called once", "s").add(label, seconds)
        memory = engine.settled_footprint().megabytes
        self._row("memory of 1,000 actors", "MB").add(label, memory)

    def _limit(self, name: str, engine: EngineProcess, label: str) -> None:
        engine.ask("open", kind="local")
        before = engine.settled_footprint().megabytes if name in OURS_ALONE else 0.0
        for figure, value in engine.ask("envelope", name=name)["figures"].items():
            unit, more_is_better = _unit_of(figure)
            self._row(figure, unit, more_is_better).add(label, value)
        if name in OURS_ALONE:
            grown = engine.settled_footprint().megabytes - before
            self._row(f"{name}: growth of the daemon and its workers", "MB").add(label, grown)

    def _row(self, name: str, unit: str, more_is_better: bool = False) -> Row:
        for row in self._rows:
            if row.name == name:
                return row
        self._rows.append(Row(name, unit, more_is_better))
        return self._rows[-1]


def _unit_of(figure: str) -> tuple[str, bool]:
    """The unit that a figure's name says, and whether more is better."""
    if "per second" in figure:
        return "/s", True
    if "kilobytes" in figure:
        return "kB", False
    if "the speed beside" in figure:
        return "", True
    return "s", False
