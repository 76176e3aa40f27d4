"""`whipray microbenchmark`: the lines of `ray microbenchmark` on this engine."""

from __future__ import annotations

import argparse
import re
import sys

import whipray as ray

from .line import select
from .lines import LINES
from .runner import measure

INTERRUPTED = 130
"""The status of a command that Ctrl-C ended, as shells count it."""


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whipray microbenchmark",
        description="Measures this engine with the workloads of `ray microbenchmark`.",
        epilog="TESTS_TO_RUN and TESTS_TO_SKIP in the environment choose lines by substring.",
    )
    parser.add_argument("--only", metavar="REGEX", help="measure the lines whose name matches")
    parser.add_argument(
        "--seconds", type=_positive, default=2.0, help="length of one round (default: 2)"
    )
    parser.add_argument(
        "--rounds", type=_count, default=4, help="timed rounds per line (default: 4)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    parser.add_argument("--list", action="store_true", help="print the names and measure nothing")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command with `arguments` (those of the process by default); returns its status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        lines = select(LINES, options.only)
    except re.error as problem:
        parser.error(f"--only {options.only!r} is no regular expression: {problem}")
    if not lines:
        print("no line has such a name; --list shows the names", file=sys.stderr)
        return 1
    if options.list:
        for line in lines:
            print(line.name)
        return 0
    if not options.json:
        print("Tip: --only REGEX measures a part of the lines, --seconds 0.5 makes it shorter")
    try:
        for result in measure(ray, lines, options.seconds, options.rounds):
            print(result.as_json() if options.json else result.as_text(), flush=True)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
