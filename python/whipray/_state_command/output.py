"""Rows of the state API as text: tables, YAML, JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

Row = dict[str, Any]

_RULE = "-" * 30


def as_json(rows: Sequence[Row]) -> str:
    """One JSON array."""
    return json.dumps(list(rows), indent=4)


def as_yaml(value: Any) -> str:
    """A document of YAML 1.2, in block style; scalars are those of JSON, which YAML includes."""
    return "\n".join(["---", *_yaml_lines(value), "..."])


def _yaml_lines(value: Any) -> list[str]:
    if isinstance(value, dict) and value:
        lines = []
        for key, each in value.items():
            if isinstance(each, (dict, list)) and each:
                lines += [f"{_scalar(key)}:", *(f"  {line}" for line in _yaml_lines(each))]
            else:
                lines.append(f"{_scalar(key)}: {_scalar(each)}")
        return lines
    if isinstance(value, list) and value:
        lines = []
        for each in value:
            first, *others = _yaml_lines(each)
            lines += [f"- {first}", *(f"  {line}" for line in others)]
        return lines
    return [_scalar(value)]


def _scalar(value: Any) -> str:
    if isinstance(value, str) and value.isidentifier() and value.lower() not in _YAML_WORDS:
        return value
    return json.dumps(value)


_YAML_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
"""What YAML would not take for text."""


def as_list(rows: Sequence[Row]) -> str:
    """The rows as a table, with the time and their number above it."""
    return "\n".join(
        [
            "",
            f"======== List: {datetime.now()} ========",
            "Stats:",
            _RULE,
            f"Total: {len(rows)}",
            "",
            "Table:",
            _RULE,
            *_table(rows),
        ]
    )


def as_summary(kind: str, summary: dict[str, Any]) -> str:
    """A summary: its totals, and the groups as a table."""
    groups = summary.get("summary", {})
    totals = {key: summary[key] for key in summary if key not in ("summary", "summary_by")}
    return "\n".join(
        [
            "",
            f"======== {kind.capitalize()} Summary: {datetime.now()} ========",
            "Stats:",
            _RULE,
            *(f"{key}: {totals[key]}" for key in sorted(totals)),
            "",
            f"Table (group by {summary.get('summary_by', 'name')}):",
            _RULE,
            *_table([_named(name, group) for name, group in groups.items()]),
        ]
    )


def _named(name: str, group: Row) -> Row:
    return group if name in group.values() else {"group": name, **group}


def _table(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    columns = list(rows[0])
    cells = [["", *(column.upper() for column in columns)]]
    for number, row in enumerate(rows):
        cells.append([str(number), *(_cell(row.get(column)) for column in columns)])
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns) + 1)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells
    ]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {each}" for key, each in sorted(value.items()))
    return str(value)
