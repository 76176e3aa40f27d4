"""Fixtures of the command line's scenarios: an isolated place, and clusters that end with it."""

import os
import socket
import subprocess
from pathlib import Path
from typing import Callable, Iterator, List

import pytest
from harness.engine import command_path, run_command
from harness.waiting import GENEROUS_SECONDS


def pytest_collection_modifyitems(items: list) -> None:
    """Ray's command line is not ours to test."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.whipray_only)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of its own, so that no other cluster is seen, nor this one by others."""
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    return folder


@pytest.fixture
def whipray(place: Path) -> Iterator[Callable[..., subprocess.CompletedProcess]]:
    """`whipray(*arguments)` runs the command; clusters that it started are stopped at the end."""
    yield run_command
    run_command("stop", "--force")


@pytest.fixture
def blocking(place: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """`blocking(*arguments)` starts the command and leaves it running until the test is over."""
    started: List[subprocess.Popen] = []

    def start(*arguments: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [command_path(), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ.copy(),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=GENEROUS_SECONDS)


@pytest.fixture
def free_port() -> int:
    """A TCP port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A TCP port that somebody else listens on."""
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        yield other.getsockname()[1]
