"""What one line of the micro-benchmark is, and how lines are chosen by name."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Callable

Repetition = Callable[[], object]
"""Does a line's work once, without arguments; what it returns is ignored."""

HALF_OF_THE_CPUS = max(1, (os.cpu_count() or 1) // 2)
"""How many servers the 1:n and n:n lines use: their callers need the other half."""


@dataclass(frozen=True)
class Line:
    """One measured line.

    `prepare` takes the engine module in an open session, makes what the line needs (objects,
    actors) and returns the repetition to be timed. A repetition does `operations` operations,
    in the line's `unit`. `session` names the kind of session (see `session.py`). `needs` are names
    of modules or attributes, each given as `<engine>.x.y` or as a top-level module, without which
    the line is skipped. `alone` marks lines that fill gigabytes of memory or take fixed ports: no
    other engine should run beside them.
    """

    name: str
    prepare: Callable[[Any], Repetition]
    operations: float = 1.0
    unit: str = "operations"
    session: str = "local"
    needs: tuple[str, ...] = ()
    alone: bool = False

    def missing_need(self, engine: Any) -> str | None:
        """The first of `needs` that `engine` and this interpreter lack, or None."""
        for need in self.needs:
            if not _is_there(need, engine):
                return need.replace("<engine>", engine.__name__)
        return None


def _is_there(need: str, engine: Any) -> bool:
    first, _, path = need.partition(".")
    if first != "<engine>":
        return importlib.util.find_spec(first) is not None
    found = engine
    for name in path.split("."):
        found = getattr(found, name, None)
        if found is None:
            return False
    return True


def select(
    lines: Iterable[Line], only: str | None = None, environment: Mapping[str, str] = os.environ
) -> list[Line]:
    """The lines whose name matches the regular expression `only` (anywhere in the name).

    The variables TESTS_TO_RUN and TESTS_TO_SKIP of `environment`, which `ray microbenchmark`
    knows too, are plain substrings and narrow the choice further. Raises `re.error` if `only` is no
    regular expression.
    """
    pattern = re.compile(only) if only else None
    wanted = environment.get("TESTS_TO_RUN", "")
    unwanted = environment.get("TESTS_TO_SKIP", "")
    return [
        line
        for line in lines
        if (pattern is None or pattern.search(line.name))
        and wanted in line.name
        and not (unwanted and unwanted in line.name)
    ]
