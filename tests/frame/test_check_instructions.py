"""tools/check_instructions.py fails where a stage grew, and only there."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "check_instructions.py"


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_instructions", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RECORD", str(tmp_path / "instructions.toml"))
    return module


@pytest.mark.parametrize(
    ("now", "status"),
    [
        ({"push": 1000}, 0),
        ({"push": 1100}, 0),
        ({"push": 1101}, 1),
        ({"push": 500}, 0),
        ({}, 1),
        ({"push": 1000, "pull": 1}, 1),
    ],
)
def test_a_stage_may_not_grow_by_more_than_a_tenth(tool: ModuleType, now: dict, status: int):
    assert tool.report({"push": 1000}, now) == status


def test_the_report_names_the_stage_and_the_way_out(tool: ModuleType, capsys):
    tool.report({"push": 1000}, {"push": 2000})
    printed = capsys.readouterr().out
    assert "push: 1,000 -> 2,000 instructions (+100%)" in printed
    assert "--update" in printed


def test_what_is_written_is_read_again(tool: ModuleType):
    tool.write({"task.push": 12, "value.encode": 34}, "3.11.7 (main) [GCC 12.2.0]")
    assert tool.read() == ({"task.push": 12, "value.encode": 34}, "3.11.7 (main) [GCC 12.2.0]")


def test_a_stage_is_found_in_the_output_of_callgrind(tool: ModuleType, tmp_path: Path):
    output = tmp_path / "counts.1"
    output.write_text("desc: Trigger: Client Request: task.push\n\nevents: Ir\n\ntotals: 42 \n")
    assert tool.counts_of(str(output)) == ("task.push", 42)
    output.write_text("desc: Trigger: Program termination\n\ntotals: 7 \n")
    assert tool.counts_of(str(output)) == ("", 7)


def test_without_valgrind_it_says_how_to_get_it(tool: ModuleType, monkeypatch, capsys):
    monkeypatch.setattr(tool.shutil, "which", lambda name: None)
    monkeypatch.setattr(tool.platform, "machine", lambda: tool.MACHINE)
    monkeypatch.setattr("sys.argv", ["check_instructions.py"])
    assert tool.main() == 0
    assert "apt install valgrind" in capsys.readouterr().out
