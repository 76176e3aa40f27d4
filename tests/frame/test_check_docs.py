"""tools/check_docs.py finds the references that lead nowhere, and only those."""

import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "check_docs.py"

FILES = {
    "Makefile": "demo:\n\techo demo\n",
    "source/life.rs": "fn start() {}\n",
    "docs/target.md": "# A heading, with `code`\n",
}


def check(root: Path, files: Dict[str, str]) -> List[str]:
    """The lines that the script prints for a repository of these files."""
    for name, text in {**FILES, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    run = subprocess.run(
        [sys.executable, str(SCRIPT), str(root)], capture_output=True, text=True, timeout=60
    )
    lines = run.stdout.splitlines()
    assert run.stderr == ""
    assert run.returncode == (1 if lines else 0)
    return lines


@pytest.mark.parametrize(
    "text",
    [
        "[there](docs/target.md) and [a heading](docs/target.md#a-heading-with-code)",
        "[elsewhere](https://example.org/nothing)",
        "`source/life.rs`, `source/*.rs`, `source/` and `source/life.rs::start`",
        "`target/release/program` is built, `some/other` is not of this repository",
        "```\n[no link](in-a-block.md)\nmake demo\n```",
        "`make demo`",
    ],
)
def test_what_exists_is_accepted(tmp_path: Path, text: str) -> None:
    assert check(tmp_path, {"README.md": text}) == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[gone](docs/gone.md)", "the link docs/gone.md leads to no file"),
        ("[out](../outside.md)", "the link ../outside.md leads to no file"),
        (
            "[gone](docs/target.md#gone)",
            "the link docs/target.md#gone names no heading of docs/target.md",
        ),
        ("`source/death.rs`", "there is no source/death.rs"),
        ("`source/life.rs::stop`", "source/life.rs does not mention stop"),
        ("`make coffee`", "the Makefile has no target coffee"),
        ("```\nmake coffee\n```", "the Makefile has no target coffee"),
    ],
)
def test_what_does_not_exist_is_named_with_its_line(
    tmp_path: Path, text: str, sentence: str
) -> None:
    line = 4 if text.startswith("```") else 3
    assert check(tmp_path, {"README.md": "# Title\n\n" + text}) == [f"README.md:{line}: {sentence}"]


def test_sources_are_searched_for_documents(tmp_path: Path) -> None:
    files = {"crates/one/src/lib.rs": "//! See docs/target.md.\n//! And docs/gone.md.\n"}
    assert check(tmp_path, files) == ["crates/one/src/lib.rs:2: there is no docs/gone.md"]


def test_a_link_is_resolved_from_the_folder_of_its_document(tmp_path: Path) -> None:
    assert check(tmp_path, {"docs/more/page.md": "[up](../target.md)"}) == []
