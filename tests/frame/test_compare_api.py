"""tools/compare_api.py finds names, parameters and defaults that differ, and wants reasons."""

import importlib.util
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "compare_api.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("compare_api", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def example(first, second=2, *rest, keyword=None, **others):
    """Has every kind of parameter."""


@pytest.mark.parametrize(
    "theirs, differs",
    [
        ("first, second=2, *rest, keyword=None, **others", False),
        ("first, second=<object>, *rest, keyword=None, **others", False),
        ("first, second=2, *rest, keyword=None, _hidden=1, **others", False),
        ("first, second=3, *rest, keyword=None, **others", True),
        ("first, second=2, *rest, other=None, **others", True),
        ("first, *rest, keyword=None, **others", True),
    ],
)
def test_signatures(tool, theirs, differs):
    assert (tool.compare_signature("example", example, theirs) is not None) == differs


def test_members(tool):
    class Ours:
        value = 1

        def method(self, number):
            return number

        @property
        def read(self):
            return 1

    facts = {
        "value": "attr",
        "method": "method(number)",
        "read": "property",
        "absent": "method()",
    }
    deviations = [found for found in tool.compare_members("Ours", Ours, facts) if found]
    assert [(found.name, found.is_missing) for found in deviations] == [("Ours.absent", True)]
    (changed,) = tool.compare_members("Ours", Ours, {"method": "method(number, more=1)"})
    assert changed.what == "(self, number) instead of (self, number, more=1)"


def test_kinds_and_values(tool):
    (wrong_kind,) = tool.compare_name("name", 5, {"kind": "function"})
    assert wrong_kind.what == "is a int instead of a function"
    (wrong_value,) = tool.compare_name("name", 5, {"kind": "constant", "value": "6"})
    assert wrong_value.what == "is 5 instead of 6"
    assert not list(tool.compare_name("name", 5, {"kind": "constant", "value": "5"}))


def test_reasons(tool):
    documented = {"ray.util", "ray.actor.ActorHandle"}
    assert tool.has_reason("ray.util.connect", documented)
    assert tool.has_reason("ray.actor.ActorHandle.method", documented)
    assert not tool.has_reason("ray.actor.ActorHandles", documented)
    assert not tool.has_reason("ray.get", documented)
