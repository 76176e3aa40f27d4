"""Answers of which a part may be missing."""

from __future__ import annotations

from typing import Any


class Silent(Exception):
    """Processes that did not answer; ``rows`` are what the others said."""

    def __init__(self, rows: list[Any], names: list[str]) -> None:
        super().__init__(f"no answer from {', '.join(names)}")
        self.rows = rows


def complete(rows: list[Any], reports: dict[str, Any]) -> list[Any]:
    """The rows, where all processes have reported. Raises Silent otherwise."""
    if reports["silent"]:
        names = [f"{silent['name']} (pid {silent['pid']})" for silent in reports["silent"]]
        raise Silent(rows, names)
    return rows
