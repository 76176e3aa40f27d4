"""The comparison as a Markdown table, as JSON, and as a line of the history."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from . import goals
from .figures import Row

LONGEST_NOTE = 160
"""Characters of a note in the table; the JSON file has it whole."""


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, number of CPUs, memory, kernel, Python, load."""
    return {
        "processor": _field("/proc/cpuinfo", "model name"),
        "cpus": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def commit(repository: Path) -> str:
    """The commit of the working tree, with `+` after it where files differ; "" without git."""
    command = ["git", "-C", str(repository), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def markdown(rows: list[Row], label: str, other: str) -> str:
    """The table: figures of both engines, ratio, goals and whether they are met."""
    lines = [
        f"| what | {label} | {other} | ratio | goal | met |",
        "| --- | ---: | ---: | ---: | --- | --- |",
    ]
    for row in rows:
        ratio = row.ratio(label, other)
        cells = [row.name, _cell(row, label), _cell(row, other)]
        cells.append("" if ratio is None else f"{ratio:.2f}x")
        cells += _goal_cells(row, label, ratio)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def as_data(rows: list[Row], label: str, other: str, about: dict[str, Any]) -> dict[str, Any]:
    """Everything that was measured, ready for JSON."""
    return {
        **about,
        "rows": [
            {
                "name": row.name,
                "unit": row.unit,
                "samples": row.samples,
                "notes": row.notes,
                "ratio": row.ratio(label, other),
                "copy_rate": row.copy_rate,
            }
            for row in rows
        ],
    }


def append_history(
    path: Path, rows: list[Row], label: str, other: str, about: dict[str, Any]
) -> None:
    """Appends this run as one JSON line: what it ran on, our figures, the ratios."""
    line = {
        **about,
        "ratios": _rounded({row.name: row.ratio(label, other) for row in rows}),
        "figures": _rounded({row.name: row.figure(label) for row in rows}),
    }
    with path.open("a") as history:
        history.write(json.dumps(line) + "\n")


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _goal_cells(row: Row, label: str, ratio: float | None) -> list[str]:
    goal = goals.GOALS.get(row.name)
    if goal is None:
        return ["", ""]
    met = goal.met_by(row.figure(label), ratio, row.share_of_copy(label))
    return [goal.text(), {True: "yes", False: "**no**", None: "not measured"}[met]]


def _cell(row: Row, label: str) -> str:
    figure = row.figure(label)
    if figure is None:
        return _first_line(row.notes.get(label, ""))
    text = f"{_number(figure)} {row.unit}".rstrip()
    if len(row.samples[label]) > 1:
        text += f" ± {_number(row.deviation(label))}"
    share = row.share_of_copy(label)
    return text if share is None else f"{text} ({share:.0%} of a copy)"


def _first_line(note: str) -> str:
    first = note.partition("\n")[0]
    return first if len(first) <= LONGEST_NOTE else first[: LONGEST_NOTE - 1] + "…"


def _number(value: float) -> str:
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _rounded(values: dict[str, float | None]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in values.items() if value is not None}


def _field(path: str, name: str) -> str:
    try:
        for line in Path(path).read_text().splitlines():
            if line.startswith(name):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()
