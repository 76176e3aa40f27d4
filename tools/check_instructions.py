"""Counts the instructions of each stage of the hot path, and compares with the numbers on record.

    python tools/check_instructions.py            # fails where a stage grew by more than 10 %
    python tools/check_instructions.py --update   # writes the numbers as they are now

A count is the same on every run and on every machine with the same toolchain, however busy it is:
what a timing cannot tell, it can. Where a change makes a stage cost more for a good reason, the
numbers are updated in the same commit, so that the price is seen in the review.

The stages of the engine are a Rust program; those of values run in a Python that has Whipray
installed (`--python`), and are compared only where it is the same build of Python.

Needs valgrind (Debian: `apt install valgrind`); without it, or on another processor than the one
that the numbers are for, the check is skipped and says so.
"""

import argparse
import glob
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RECORD = os.path.join(ROOT, "benches", "instructions.toml")
TOLERANCE_PERCENT = 10
MACHINE = "x86_64"

PREPARATION = """
from whipray import _core
encode, decode = _core.serialize, _core.deserialize
number, row = 7, (1, "two", [3.0, None], b"four")
encoded_number, encoded_row = encode(number)[0], encode(row)[0]
"""
RUNS = 20_000
VALUES = {
    "value.encode_number": "encode(number)",
    "value.decode_number": "decode(encoded_number, ())",
    "value.encode_row": "encode(row)",
    "value.decode_row": "decode(encoded_row, ())",
}

HEADER = """\
# Instructions of each stage of the hot path, written by `tools/check_instructions.py --update`.
# `make check-instructions` fails where a stage takes 10 % more than it says here.
"""


def main() -> int:
    """The exit status: 0 for all is well or skipped, 1 for a stage that grew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", help="the interpreter that has Whipray installed")
    parser.add_argument("--update", action="store_true", help="write the numbers as they are now")
    options = parser.parse_args()
    if platform.machine() != MACHINE:
        print(f"instructions: skipped, the numbers are for {MACHINE}")
        return 0
    if shutil.which("valgrind") is None:
        print("instructions: skipped, valgrind is not installed (Debian: apt install valgrind)")
        return 0
    counted = count_engine()
    known, known_build = read()
    this_build = build_of(options.python) if options.python else ""
    if options.python and (options.update or this_build == known_build):
        counted.update(count_values(options.python))
    else:
        print("instructions: values are skipped, the numbers are for another Python")
        known = {stage: number for stage, number in known.items() if stage not in VALUES}
    if options.update:
        write(counted, this_build)
        return 0
    return report(known, counted)


def count_engine() -> "dict[str, int]":
    """Instructions of one run of each stage of the engine."""
    program = build()
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", "--collect-atstart=no", "--quiet"]
        command += [f"--callgrind-out-file={folder}/counts", program]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"instructions: {' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        runs = int(re.search(r"^runs (\d+)$", done.stdout, re.MULTILINE).group(1))
        return {
            stage: total // runs
            for stage, total in map(counts_of, glob.glob(f"{folder}/counts.*"))
            if stage
        }


def build_of(python: str) -> str:
    """What tells one build of Python from another."""
    code = "import sys; print(sys.version.replace(chr(10), ' '))"
    return subprocess.run([python, "-c", code], stdout=subprocess.PIPE, text=True).stdout.strip()


def count_values(python: str) -> "dict[str, int]":
    """Instructions of one run of each stage of values, with the loop around it."""
    empty = count_python(python, "pass")
    return {stage: (count_python(python, code) - empty) // RUNS for stage, code in VALUES.items()}


def count_python(python: str, code: str) -> int:
    """Instructions of a process that runs the code `RUNS` times."""
    program = f"{PREPARATION}\nfor _ in range({RUNS}):\n    {code}\n"
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/count"]
        done = subprocess.run(
            [*command, python, "-I", "-c", program],
            env={**os.environ, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            sys.exit(f"instructions: {code!r} failed in {python}:\n{done.stderr}")
        return counts_of(f"{folder}/count")[1]


def build() -> str:
    """Build the program that has the stages; its path."""
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--package", "whipray-sim"]
    command += ["--bench", "instructions", "--message-format", "json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit("instructions: the program with the stages does not build")
    for line in done.stdout.splitlines():
        said = json.loads(line)
        if said.get("target", {}).get("name") == "instructions" and said.get("executable"):
            return str(said["executable"])
    sys.exit("instructions: cargo does not say where the program is")


def counts_of(path: str) -> "tuple[str, int]":
    """The stage that a file of callgrind's is about (empty: none), and what was counted."""
    with open(path) as file:
        text = file.read()
    stage = re.search(r"^desc: Trigger: Client Request: (\S+)$", text, re.MULTILINE)
    total = re.search(r"^totals: (\d+)", text, re.MULTILINE)
    return stage.group(1) if stage else "", int(total.group(1)) if total else 0


def read() -> "tuple[dict[str, int], str]":
    """The numbers on record, and the build of Python that those of values are for."""
    if not os.path.exists(RECORD):
        return {}, ""
    with open(RECORD) as file:
        text = file.read()
    numbers = re.findall(r'^"([^"]+)" = (\d+)$', text, re.MULTILINE)
    python = re.search(r'^python = "(.*)"$', text, re.MULTILINE)
    return {stage: int(number) for stage, number in numbers}, python.group(1) if python else ""


def write(counted: "dict[str, int]", python: str) -> None:
    """Replace the numbers on record."""
    with open(RECORD, "w") as file:
        file.write(HEADER)
        file.write(f'python = "{python}"\n\n[stages]\n')
        for stage in sorted(counted):
            file.write(f'"{stage}" = {counted[stage]}\n')
    print(f"instructions: wrote {len(counted)} stages to {os.path.relpath(RECORD, ROOT)}")


def report(known: "dict[str, int]", counted: "dict[str, int]") -> int:
    """Print what has changed; the exit status."""
    problems = []
    for stage in sorted({*known, *counted}):
        if stage not in known or stage not in counted:
            problems.append(f"{stage}: {'not measured any more' if stage in known else 'is new'}")
            continue
        before, now = known[stage], counted[stage]
        share = now / before - 1
        if 100 * now > (100 + TOLERANCE_PERCENT) * before:
            problems.append(f"{stage}: {before:,} -> {now:,} instructions ({share:+.0%})")
        elif 100 * now < (100 - TOLERANCE_PERCENT) * before:
            print(f"instructions: {stage} shrank, {before:,} -> {now:,} ({share:+.0%}): --update")
    if not problems:
        print(f"instructions: {len(counted)} stages, none above its number on record")
        return 0
    print("instructions: the hot path has grown:", *problems, sep="\n  ")
    print("If that is the price of something good, write the new numbers in the same commit:")
    print("  python tools/check_instructions.py --update")
    return 1


if __name__ == "__main__":
    sys.exit(main())
