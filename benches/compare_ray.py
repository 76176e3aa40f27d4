"""Whipray and Ray side by side in one run: rates, start and memory, with goals.

    python benches/compare_ray.py --ray-python ../ray/bin/python

Each engine runs in a process of its own, under its own interpreter, and each line is measured on
both in short alternating rounds: the machine's noise then meets both, and only ratios count. Ray
belongs in a virtual environment of its own. The table goes to standard output, progress to standard
error, and one JSON line per run to the history.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from comparison import memory_copy, report
from comparison.engine import EngineChoice, import_problem
from comparison.engine_process import REPOSITORY, WORKLOADS, WORKLOADS_NAME, load
from comparison.figures import Row
from comparison.line_comparison import Pace, compare_lines
from comparison.weight_comparison import WeightComparison

HISTORY = REPOSITORY / "benches" / "history.jsonl"
STARTS = 3
INTERRUPTED = 130
"""The status after Ctrl-C, as shells count it; what was measured until then is printed."""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument(
        "--ray-python",
        metavar="PATH",
        default=os.environ.get("RAY_PYTHON"),
        help="interpreter of an environment with Ray (default: $RAY_PYTHON)",
    )
    made.add_argument(
        "--python",
        metavar="PATH",
        default=sys.executable,
        help="interpreter of an environment with Whipray (default: this one)",
    )
    made.add_argument("--module", default="whipray", help="our engine's module (default: whipray)")
    made.add_argument("--only", metavar="REGEX", help="only the lines whose name matches")
    made.add_argument("--seconds", type=float, default=1.0, help="length of a round (default: 1)")
    made.add_argument("--rounds", type=int, default=3, help="rounds per line (default: 3)")
    made.add_argument(
        "--timeout",
        type=float,
        default=180.0,
        help="longest answer of an engine in seconds (default: 180)",
    )
    made.add_argument("--no-lines", action="store_true", help="leave the micro-benchmark out")
    made.add_argument("--no-weight", action="store_true", help="leave start and memory out")
    made.add_argument(
        "--envelope",
        nargs="?",
        const="",
        metavar="REGEX",
        help="also measure the limits of one machine (minutes on Ray): all, or those that match",
    )
    made.add_argument("--wheel", metavar="FILE", type=Path, help="our wheel, for its size")
    made.add_argument("--ray-wheel", metavar="FILE", type=Path, help="Ray's wheel, for its size")
    made.add_argument("--json", metavar="FILE", type=Path, help="write every sample to this file")
    made.add_argument(
        "--history",
        metavar="FILE",
        type=Path,
        default=HISTORY,
        help="append one JSON line to this file (default: benches/history.jsonl)",
    )
    made.add_argument("--no-history", action="store_true", help="append no line")
    return made


def main() -> int:
    """Runs the comparison; the status says whether it ran, not whether goals are met."""
    made = parser()
    options = made.parse_args()
    _check(made, options)
    ours = EngineChoice("Whipray", options.python, options.module)
    theirs = EngineChoice("Ray", options.ray_python, "ray")
    for choice in (ours, theirs):
        problem = import_problem(choice)
        if problem is not None:
            print(f"{choice.python} cannot import {choice.module}: {problem}", file=sys.stderr)
            return 1
    load(WORKLOADS_NAME, WORKLOADS / "__init__.py")
    about: dict[str, Any] = {
        "date": report.now(),
        "commit": report.commit(REPOSITORY),
        "machine": report.machine(),
        "seconds": options.seconds,
        "rounds": options.rounds,
    }
    rows: list[Row] = []
    try:
        if not options.no_lines:
            _measure_lines([ours, theirs], options, about, rows)
        _measure_weights(ours, theirs, options, rows)
    except KeyboardInterrupt:
        about["interrupted"] = True
    print(_title(about))
    print()
    print(report.markdown(rows, ours.label, theirs.label))
    if options.json is not None:
        data = report.as_data(rows, ours.label, theirs.label, about)
        options.json.write_text(json.dumps(data, indent=1) + "\n")
    if not options.no_history and "interrupted" not in about:
        report.append_history(options.history, rows, ours.label, theirs.label, about)
    return INTERRUPTED if "interrupted" in about else 0


def _check(made: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.ray_python is None:
        made.error(
            "--ray-python PATH (or RAY_PYTHON) must name the interpreter of an environment with "
            "Ray: python -m venv ../ray && ../ray/bin/pip install 'ray[default]' numpy"
        )
    for name in ("python", "ray_python"):
        if not os.access(getattr(options, name), os.X_OK):
            made.error(f"--{name.replace('_', '-')}: no interpreter at {getattr(options, name)}")
    for name in ("wheel", "ray_wheel"):
        path: Path | None = getattr(options, name)
        if path is not None and not path.is_file():
            made.error(f"--{name.replace('_', '-')}: no file at {path}")
    if options.seconds <= 0 or options.rounds < 1 or options.timeout <= 0:
        made.error("--seconds, --rounds and --timeout must be positive")
    try:
        re.compile(options.only or "")
        re.compile(options.envelope or "")
    except re.error as problem:
        made.error(f"--only, --envelope: no regular expression: {problem}")


def _measure_lines(
    choices: list[EngineChoice],
    options: argparse.Namespace,
    about: dict[str, Any],
    rows: list[Row],
) -> None:
    from microbenchmark_workloads.line import select
    from microbenchmark_workloads.lines import LINES
    from microbenchmark_workloads.object_lines import (
        PUT_LARGE,
        PUT_LARGE_FROM_TASKS,
        TRUE_GIGABYTES_PER_COUNTED,
    )

    chosen = select(LINES, options.only)
    copies: dict[str, memory_copy.CopyRates] = {}
    if PUT_LARGE in chosen:
        _progress("warm copy of one process")
        copies[PUT_LARGE.name] = memory_copy.one_process(options.seconds)
    if PUT_LARGE_FROM_TASKS in chosen:
        _progress("warm copy of all processors")
        copies[PUT_LARGE_FROM_TASKS.name] = memory_copy.all_processors(options.seconds)
    about["warm_copy_gigabytes_per_second"] = {
        name: {"written": round(rates.written, 2), "zeros": round(rates.zeros, 2)}
        for name, rates in copies.items()
    }
    # The lines put zeros that nobody wrote, which copy faster than written memory: only a copy of
    # the same kind of source is a limit.
    counted = {name: rates.zeros / TRUE_GIGABYTES_PER_COUNTED for name, rates in copies.items()}
    pace = Pace(options.seconds, options.rounds, options.timeout)
    compare_lines(chosen, choices, pace, counted, rows, _progress)


def _measure_weights(
    ours: EngineChoice, theirs: EngineChoice, options: argparse.Namespace, rows: list[Row]
) -> None:
    comparison = WeightComparison([ours, theirs], options.timeout, rows, _progress)
    if not options.no_weight:
        comparison.imports()
        comparison.starts(STARTS)
        comparison.weights()
    if options.envelope is not None:
        comparison.envelope(options.envelope)
    if options.wheel is not None:
        comparison.wheel(ours.label, options.wheel)
    if options.ray_wheel is not None:
        comparison.wheel(theirs.label, options.ray_wheel)


def _title(about: dict[str, Any]) -> str:
    machine = about["machine"]
    title = (
        f"{about['date']}, commit {about['commit'] or 'unknown'}, {machine['processor']}, "
        f"{machine['cpus']} CPUs, {machine['memory_gib']} GiB, Linux {machine['kernel']}, "
        f"CPython {machine['python']}, load {machine['load_at_start']} at the start; "
        f"medians of {about['rounds']} rounds of {about['seconds']:g} s."
    )
    copies = about.get("warm_copy_gigabytes_per_second", {})
    for name, rates in copies.items():
        title += (
            f"\nWarm copy beside {name!r}: {rates['written']} GB/s of written memory, "
            f"{rates['zeros']} GB/s of zeros never written (what that line copies, and the limit "
            "that its goal means)."
        )
    return title


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
