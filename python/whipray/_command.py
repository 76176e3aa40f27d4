"""The commands ``whipray`` and ``ray``: the native program, told which Python it belongs to."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from whipray._daemon import binary


def main() -> NoReturn:
    """Become the native program, with the arguments of this process."""
    try:
        program = binary()
    except FileNotFoundError as error:
        sys.exit(f"whipray: {error}")
    os.environ["WHIPRAY_PYTHON"] = sys.executable
    try:
        os.execv(program, [program, *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"whipray: {program} cannot be run: {error}")
