"""Messages that are said once."""

from __future__ import annotations

import time

__all__ = [
    "disable_log_once_globally",
    "enable_periodic_logging",
    "log_once",
    "reset_log_once",
]

_PERIOD_SECONDS = 60.0

_said: set[str] = set()
_last_forgotten = 0.0
_disabled = False
_periodic = False


def log_once(key: str) -> bool:
    """Whether this is the first question with this key, and so the time to say something."""
    global _last_forgotten
    if _disabled:
        return False
    if key not in _said:
        _said.add(key)
        return True
    if _periodic and time.monotonic() - _last_forgotten > _PERIOD_SECONDS:
        _said.clear()
        _last_forgotten = time.monotonic()
    return False


def disable_log_once_globally() -> None:
    """Have :func:`log_once` answer False from now on."""
    global _disabled
    _disabled = True


def enable_periodic_logging() -> None:
    """Have :func:`log_once` forget what was said, every minute."""
    global _periodic
    _periodic = True


def reset_log_once(key: str | None = None) -> None:
    """Have :func:`log_once` forget that it was asked for ``key``, or all that it was asked for."""
    if key is None:
        _said.clear()
    else:
        _said.discard(key)
