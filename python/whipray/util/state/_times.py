"""Times of rows, from ages."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any

_REMEMBERED = 10_000
_beginnings: OrderedDict[str, int] = OrderedDict()


def ago_ms(age_us: int) -> int:
    """The system's time so long ago, in milliseconds since the epoch."""
    return int(time.time() * 1000 - age_us / 1000)


def since_ms(identity: str, age_us: int) -> int:
    """The same for the beginning of something with an id: each answer is the first one again, since
    ages and clocks differ by a millisecond now and then."""
    beginning = _beginnings.setdefault(identity, ago_ms(age_us))
    if len(_beginnings) > _REMEMBERED:
        _beginnings.popitem(last=False)
    return beginning


def events_of(
    created_ms: int, started_ms: int | None, end: tuple[str, int] | None
) -> list[dict[str, Any]]:
    """The states of a task with their times: submitted, begun, and at which end."""
    known = [("PENDING_ARGS_AVAIL", created_ms)]
    if started_ms is not None:
        known.append(("RUNNING", started_ms))
    if end is not None:
        known.append(end)
    return [{"state": state, "created_ms": float(at_ms)} for state, at_ms in known]
