"""The engine under test: ours, or Ray as the judge of the expected behaviour."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Dict, List

from harness.waiting import GENEROUS_SECONDS

ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def plain(text: str) -> str:
    """`text` without terminal colours."""
    return ANSI_COLOUR.sub("", text)


@dataclass(frozen=True)
class Engine:
    """A name (`whipray` or `ray`) and what follows from it."""

    name: str

    @property
    def is_whipray(self) -> bool:
        return self.name == "whipray"

    def module(self) -> ModuleType:
        """The engine's Python package, imported at the first use."""
        return importlib.import_module(self.name)

    def import_lines(self) -> List[str]:
        """Every spelling with which a user's program can import the engine as `ray`."""
        if self.is_whipray:
            return ["import whipray as ray", "import ray"]
        return ["import ray"]

    def init_options(self, options: Dict[str, Any]) -> Dict[str, Any]:
        """Options of `init()`: quiet and without extras, unless the test asks for them."""
        return {"log_to_driver": False, "include_dashboard": False, **options}


START_HEAD = ("start", "--head", "--port", "0")
"""Arguments that start a cluster on a port which the system chooses: the usual one may be taken."""


def command_path() -> str:
    """The `whipray` command of the environment that runs the tests."""
    beside = os.path.join(os.path.dirname(sys.executable), "whipray")
    found = beside if os.path.exists(beside) else shutil.which("whipray")
    if found is None:
        raise AssertionError("the command `whipray` is not installed beside this Python")
    return found


def run_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run `whipray <arguments>` to its end, with text output captured."""
    return subprocess.run(
        [command_path(), *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=GENEROUS_SECONDS,
    )
