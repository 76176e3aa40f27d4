"""What the command says about itself, and about wrong command lines."""

import re

import pytest

VERBS = ["start", "stop", "status", "microbenchmark"]


def test_version(whipray):
    done = whipray("--version")
    assert done.returncode == 0
    assert re.search(r"\d+\.\d+\.\d+", done.stdout)
    assert done.stderr == ""


def test_help_names_the_verbs(whipray):
    done = whipray("--help")
    assert done.returncode == 0
    for verb in VERBS:
        assert verb in done.stdout
    assert "daemon" not in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(whipray, verb):
    done = whipray(verb, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_help_of_start_names_rays_options(whipray):
    told = whipray("start", "--help").stdout
    for option in (
        "--head",
        "--port",
        "--num-cpus",
        "--num-gpus",
        "--resources",
        "--object-store-memory",
        "--temp-dir",
        "--block",
    ):
        assert option in told


def test_without_a_verb(whipray):
    done = whipray()
    assert done.returncode == 2
    assert "Usage" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("fly",),
        ("start", "--head", "--no-such-option"),
        ("start", "--head", "--num-cpus", "many"),
        ("start", "--head", "--port", "70000"),
        ("start", "--head", "--num-cpus"),
    ],
    ids=" ".join,
)
def test_wrong_command_line(whipray, arguments):
    done = whipray(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error:")
    assert "panicked" not in done.stderr
