"""Timing of one repetition: a warm-up, then rounds of a fixed length."""

from __future__ import annotations

import time

from .line import Repetition

STEPS_PER_WARM_UP = 10
"""The clock is read about this often per warm-up length, so that reading it costs nothing."""

LONG_REPETITION_SECONDS = 0.2


class Meter:
    """Measures how many operations per second a repetition does."""

    def __init__(self, repetition: Repetition, operations: float) -> None:
        self._repetition = repetition
        self._operations = operations
        self._step = 1
        self._seconds_per_repetition = 0.0

    def refresh(self) -> None:
        """Repeats once, untimed, after a pause in which something else had the machine.

        Leases may be gone and caches cold. A long repetition hardly feels that and is not repeated.
        """
        if self._seconds_per_repetition < LONG_REPETITION_SECONDS:
            self._repetition()

    def warm_up(self, seconds: float) -> None:
        """Repeats for at least `seconds` (one repetition at least), and learns the pace from it."""
        count = 0
        start = time.perf_counter()
        while True:
            self._repetition()
            count += 1
            elapsed = time.perf_counter() - start
            if elapsed >= seconds:
                break
        self._seconds_per_repetition = elapsed / count
        self._step = count // STEPS_PER_WARM_UP + 1

    def round(self, seconds: float) -> float:
        """Repeats for at least `seconds` and returns operations per second."""
        count = 0
        start = time.perf_counter()
        while True:
            for _ in range(self._step):
                self._repetition()
            count += self._step
            elapsed = time.perf_counter() - start
            if elapsed >= seconds:
                return self._operations * count / elapsed
