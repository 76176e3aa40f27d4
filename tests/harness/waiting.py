"""Waiting for a condition, always with an end."""

import time
from typing import Callable, TypeVar

GENEROUS_SECONDS = 60.0
"""Upper bound of every wait. It says when to give up; how long a thing takes is never judged."""

_PAUSE_SECONDS = 0.02

Value = TypeVar("Value")


def until(condition: Callable[[], Value], what: str, seconds: float = GENEROUS_SECONDS) -> Value:
    """Call `condition` until it returns something true, and return that.

    Raises AssertionError that names `what` after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"gave up after {seconds:.0f} s: {what} (last seen: {value!r})")
        time.sleep(_PAUSE_SECONDS)
