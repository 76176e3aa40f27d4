"""Times of rows, from ages."""

import time
from collections import OrderedDict

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
