"""Lines that many workers print alike are shown once, with their number."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

WINDOW_SECONDS = 5.0

_EXPLANATION = (
    " (lines that several workers print alike are shown once; RAY_DEDUP_LOGS=0 shows them all)"
)
_DIGITS = re.compile(r"\d+")


@dataclass
class _Seen:
    """A line that was shown, and its repetitions by other processes since then."""

    since: float
    is_error: bool
    pids: set[int]
    count: int = 0
    last: str = ""


@dataclass
class Deduplicator:
    """Holds back repetitions for :data:`WINDOW_SECONDS`. Times are seconds of any steady clock."""

    enabled: bool = True
    window: float = WINDOW_SECONDS
    allow: re.Pattern[str] | None = None
    """Lines that are never held back."""
    skip: re.Pattern[str] | None = None
    """Lines that are never shown."""
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _explained: bool = False

    @staticmethod
    def of_environment() -> Deduplicator:
        """As ``RAY_DEDUP_LOGS`` and its relatives say."""
        get = os.environ.get
        allow, skip = get("RAY_DEDUP_LOGS_ALLOW_REGEX"), get("RAY_DEDUP_LOGS_SKIP_REGEX")
        return Deduplicator(
            enabled=get("RAY_DEDUP_LOGS", "1") not in ("0", "false", "False"),
            window=float(get("RAY_DEDUP_LOGS_AGG_WINDOW_S", str(WINDOW_SECONDS))),
            allow=re.compile(allow) if allow else None,
            skip=re.compile(skip) if skip else None,
        )

    @property
    def is_holding(self) -> bool:
        """Whether :meth:`due` may have something to say later."""
        return bool(self._seen)

    def admits(self, pid: int, is_error: bool, prefix: str, line: str, now: float) -> bool:
        """Whether the line is to be shown at once; otherwise it was counted, or is not wanted."""
        if self.skip is not None and self.skip.search(line):
            return False
        if not self.enabled or not line.strip():
            return True
        if self.allow is not None and self.allow.search(line):
            return True
        key = _DIGITS.sub("", line)
        seen = self._seen.get(key)
        if seen is None:
            self._seen[key] = _Seen(now, is_error, {pid})
            return True
        if pid in seen.pids and seen.count == 0:
            return True
        if pid not in seen.pids:
            seen.pids.add(pid)
        seen.count += 1
        seen.last = prefix + line
        return False

    def due(self, now: float) -> list[tuple[bool, str]]:
        """Whether it is an error, and the text, of what was held back long enough."""
        late = [key for key, seen in self._seen.items() if now - seen.since >= self.window]
        return self._release(late)

    def rest(self) -> list[tuple[bool, str]]:
        """All that is held back."""
        return self._release(list(self._seen))

    def _release(self, keys: list[str]) -> list[tuple[bool, str]]:
        released = []
        for key in keys:
            seen = self._seen.pop(key)
            if seen.count == 1:
                released.append((seen.is_error, seen.last))
            elif seen.count > 1:
                text = f"{seen.last} [repeated {seen.count}x across cluster]"
                if not self._explained:
                    self._explained = True
                    text += _EXPLANATION
                released.append((seen.is_error, text))
        return released
