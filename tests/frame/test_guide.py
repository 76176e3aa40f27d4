"""The programs of the guide run, and print what their comments say."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import List, Optional

import pytest

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXPECTED = re.compile(r"^\s*print\(.*\)\s+# (.*)$", re.MULTILINE)


def blocks(page: str) -> List[str]:
    """The Python blocks of a page, in order."""
    return BLOCK.findall((GUIDE / page).read_text())


def output_of(program: str, folder: Path, address: Optional[str] = "local") -> List[str]:
    """The lines that the program prints, run from a file as a user would."""
    file = folder / "program.py"
    file.write_text(program)
    named = {} if address is None else {"RAY_ADDRESS": address}
    done = subprocess.run(
        [sys.executable, str(file)],
        env={**os.environ, **named},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("page", ["getting-started.md", "errors.md", "metrics.md"])
def test_the_blocks_of_a_page_are_one_program(page: str, tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    program = "\n".join(blocks(page))
    if "ray.init()" not in program:
        program = "import whipray as ray\n\nray.init()\n" + program
    expected = EXPECTED.findall(program)
    assert expected
    printed = output_of(program, tmp_path)
    assert [line for line in expected if line not in printed] == []


def test_a_cluster_of_several_nodes_in_one_program(tmp_path: Path) -> None:
    (program,) = [block for block in blocks("cluster.md") if "import Cluster\n" in block]
    assert EXPECTED.findall(program) == ["True"]
    assert output_of(program, tmp_path) == ["True"]


def test_nodes_that_come_and_go(tmp_path: Path) -> None:
    (program,) = [block for block in blocks("cluster.md") if "AutoscalingCluster" in block]
    (line,) = output_of(program, tmp_path, address=None)
    assert re.fullmatch("[0-9a-f]{56}", line)
