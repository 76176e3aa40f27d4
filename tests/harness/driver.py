"""Drivers as separate processes, for what a test cannot do inside its own."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Dict, List, Optional

from harness.engine import plain
from harness.waiting import GENEROUS_SECONDS, until


class Driver:
    """A Python script that runs with the interpreter and environment of the tests."""

    def __init__(
        self,
        folder: Path,
        source: str,
        name: str = "driver.py",
        arguments: Optional[List[str]] = None,
        working_directory: Optional[Path] = None,
        environment: Optional[Dict[str, str]] = None,
        prefix: Optional[List[str]] = None,
    ) -> None:
        """`prefix` stands before the command, to run it elsewhere."""
        folder.mkdir(parents=True, exist_ok=True)
        self.script = folder / name
        self.script.write_text(textwrap.dedent(source))
        self._stdout_path = folder / (name + ".stdout")
        self._stderr_path = folder / (name + ".stderr")
        with open(self._stdout_path, "w") as stdout, open(self._stderr_path, "w") as stderr:
            self.process = subprocess.Popen(
                [*(prefix or []), sys.executable, "-u", str(self.script), *(arguments or [])],
                cwd=working_directory or folder,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )

    @property
    def stdout(self) -> str:
        """What the driver printed so far, without colours."""
        return plain(self._stdout_path.read_text())

    @property
    def stderr(self) -> str:
        """What the driver wrote to its standard error so far, without colours."""
        return plain(self._stderr_path.read_text())

    def until_printed(self, text: str) -> None:
        """Wait until `text` is on the driver's standard output.

        Raises AssertionError with both outputs if the driver ends before.
        """

        def printed() -> bool:
            if text in self.stdout:
                return True
            if self.process.poll() is not None and text not in self.stdout:
                raise AssertionError(f"the driver ended without printing {text!r}: {self.told()}")
            return False

        until(printed, f"the driver prints {text!r}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the driver's own process alone."""
        self.process.send_signal(number)

    def finish(self) -> int:
        """Wait for the driver's end and return its exit code (negative: a signal)."""
        try:
            return self.process.wait(GENEROUS_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the driver does not end: {self.told()}") from None

    def told(self) -> str:
        """Both outputs, for the message of a failing assertion."""
        return f"\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"

    def end(self) -> None:
        """Make sure that the process is gone."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(GENEROUS_SECONDS)


class Drivers:
    """Starts drivers in one folder and ends those that still run when a test is over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: List[Driver] = []

    def start(self, source: str, **options) -> Driver:
        """Start a driver; options are those of `Driver`."""
        driver = Driver(options.pop("folder", self.folder), source, **options)
        self._started.append(driver)
        return driver

    def run(self, source: str, **options) -> Driver:
        """Start a driver and wait until it ended with exit code 0."""
        driver = self.start(source, **options)
        code = driver.finish()
        assert code == 0, f"the driver ended with {code}: {driver.told()}"
        return driver

    def end_all(self) -> None:
        """End every driver that still runs."""
        for driver in self._started:
            driver.end()
