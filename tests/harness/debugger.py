"""`ray debug` as a process with pipes, to talk to."""

import os
import subprocess
import sys

from harness.engine import Engine, command_path, plain
from harness.waiting import GENEROUS_SECONDS, until


class Debugger:
    """`ray debug`, with pipes in the place of a terminal."""

    def __init__(self, engine: Engine, address: str, **environment: str) -> None:
        if engine.is_whipray:
            command = [command_path(), "debug", "--address", address]
        else:
            command = [os.path.join(os.path.dirname(sys.executable), "ray"), "debug"]
            command += ["--address", address]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "RAY_DEBUG": "legacy", "PYTHONUNBUFFERED": "1", **environment},
        )
        os.set_blocking(self.process.stdout.fileno(), False)
        self.output = ""

    def until_said(self, text: str) -> str:
        """Wait for a text; what was said up to and with it, since the last one."""

        def said() -> bool:
            self.output += plain((self.process.stdout.read() or b"").decode())
            return text in self.output

        until(said, f"the debugger says {text!r}")
        before, found, self.output = self.output.partition(text)
        return before + found

    def say(self, line: str) -> None:
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def choose(self, text: str) -> str:
        """Refresh the list until `text` is in it, and attach to the first breakpoint."""
        while True:
            shown = self.until_said("press enter to refresh: ")
            if text in shown:
                self.say("0")
                return shown
            self.say("")

    def at_prompt(self, line: str = "") -> str:
        """Wait until the program has stopped, and say a command; what was said before."""
        said = self.until_said("(Pdb) ")
        if line:
            self.say(line)
        return said

    def end(self) -> None:
        self.process.kill()
        self.process.wait(GENEROUS_SECONDS)
        self.process.stdin.close()
        self.process.stdout.close()
