"""Measures lines one after another with one engine and prints them."""

from __future__ import annotations

import gc
import json
import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from .line import Line
from .meter import Meter
from .session import session


@dataclass(frozen=True)
class Result:
    """Mean and standard deviation of a line's rounds, in `unit` per second."""

    name: str
    mean: float
    deviation: float
    unit: str

    def as_text(self) -> str:
        """The line as `ray microbenchmark` prints it."""
        return f"{self.name} per second {round(self.mean, 2)} +- {round(self.deviation, 2)}"

    def as_json(self) -> str:
        """The line as one JSON object."""
        return json.dumps(
            {"name": self.name, "mean": self.mean, "std": self.deviation, "unit": self.unit}
        )


@dataclass(frozen=True)
class Skipped:
    """A line that was not measured, with what is missing."""

    name: str
    missing: str

    def as_text(self) -> str:
        """One line that says what is missing."""
        return f"{self.name}: skipped, there is no {self.missing}"

    def as_json(self) -> str:
        """The same as one JSON object."""
        return json.dumps({"name": self.name, "skipped": f"there is no {self.missing}"})


def measure(
    engine: Any, lines: list[Line], seconds: float, rounds: int
) -> Iterator[Result | Skipped]:
    """Measures `lines` in order: a warm-up, then `rounds` rounds of `seconds` each.

    A session is opened for each run of lines of the same kind and closed after it. Raises what the
    engine raises: a line that fails ends the benchmark.
    """
    current = None
    with ExitStack() as opened:
        for line in lines:
            missing = line.missing_need(engine)
            if missing is not None:
                yield Skipped(line.name, missing)
                continue
            if line.session != current:
                opened.close()
                opened.enter_context(session(engine, line.session))
                current = line.session
            yield _measure_one(engine, line, seconds, rounds)


def _measure_one(engine: Any, line: Line, seconds: float, rounds: int) -> Result:
    meter = Meter(line.prepare(engine), line.operations)
    meter.warm_up(seconds / 2)
    rates = [meter.round(seconds) for _ in range(rounds)]
    del meter
    # References and actors of this line go before the next one is measured.
    gc.collect()
    return Result(line.name, statistics.fmean(rates), statistics.pstdev(rates), line.unit)
