"""The verbs of the Makefile that need no build."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def make(verb: str) -> str:
    """The output of `make verb`, which must succeed."""
    return subprocess.run(
        ["make", "--no-print-directory", verb],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout


def test_help_lists_every_verb() -> None:
    listed = [line.split()[0] for line in make("help").splitlines()[1:]]
    verbs = "help demo test check bench soak compat ecosystem web docs"
    assert listed == verbs.split()


def test_web_says_that_there_is_nothing_to_build() -> None:
    assert make("web").count("\n") == 1
