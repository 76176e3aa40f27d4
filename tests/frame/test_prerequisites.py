"""tools/prerequisites.sh gives one line for each missing thing, with the command that helps."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "prerequisites.sh"

# What the script itself calls; everything else is what it looks for.
SHELL_TOOLS = ["sh", "mktemp", "rm", "sed"]

COMPLETE = {
    "python3": f'exec "{sys.executable}" "$@"',
    "cc": "exit 0",
    "cargo": "exit 0",
    "rustc": "echo 'rustc 1.95.0 (0 2026-01-01)'",
}


@pytest.fixture
def lines_without(tmp_path: Path):
    """Run the script on a machine with these programs only; the lines that it prints."""

    def run(programs: Dict[str, str]) -> List[str]:
        for tool in SHELL_TOOLS:
            os.symlink(str(shutil.which(tool)), tmp_path / tool)
        for name, body in programs.items():
            program = tmp_path / name
            program.write_text(f"#!/bin/sh\n{body}\n")
            program.chmod(0o755)
        done = subprocess.run(
            ["sh", str(SCRIPT), "python3"],
            env={"PATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        lines = done.stderr.splitlines()
        assert done.stdout == ""
        assert done.returncode == (1 if lines else 0)
        return lines

    return run


def test_a_complete_machine_gets_no_line(lines_without) -> None:
    assert lines_without(COMPLETE) == []


@pytest.mark.parametrize(
    ("missing", "named", "command"),
    [
        ("python3", "python3", "apt-get install"),
        ("cc", "cc", "apt-get install"),
        ("cargo", "cargo", "rustup"),
    ],
)
def test_a_missing_program_is_named_with_the_command(
    lines_without, missing: str, named: str, command: str
) -> None:
    programs = {name: body for name, body in COMPLETE.items() if name != missing}
    (line,) = lines_without(programs)
    assert line.startswith(f"missing: {named}")
    assert "install it with: " in line
    assert command in line


@pytest.mark.parametrize(
    ("program", "body", "named"),
    [
        ("rustc", "echo 'rustc 1.63.0 (0 2022-01-01)'", "Rust 1.95"),
        ("cc", '[ "$1" = --version ]', "C library"),
        ("python3", '[ "$1" = --version ]', "Python 3.9"),
        ("python3", 'case "$2" in *ensurepip*) exit 1 ;; esac', "ensurepip"),
    ],
)
def test_a_program_that_does_not_do_is_named(
    lines_without, program: str, body: str, named: str
) -> None:
    (line,) = lines_without({**COMPLETE, program: body})
    assert named in line


def test_every_missing_thing_is_listed_at_once(lines_without) -> None:
    assert len(lines_without({})) == 3
