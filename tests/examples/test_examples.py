"""Every example runs at a small size, with both names of the engine."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples"

SMALL = {
    "batched_inference": (["--items", "60", "--batch", "20"], r"\d+ of 60 reviews are friendly"),
    "monte_carlo_pi": (["--tasks", "3", "--points", "2000"], r"pi is about 3\.\d+ \(6000 points"),
    "parameter_server": (["--rounds", "10", "--points", "20"], r"y = \d\.\d\d x -\d\.\d\d"),
    "streaming_pipeline": (["--records", "600", "--batch", "100"], r"(\w{4}: \d+\.\d degrees.){3}"),
    "word_count": (["--words", "3"], r" 9 the\n +3 reference\n +3 task\n"),
}
"""Arguments of each example, and what it prints then."""


@pytest.fixture(params=["import ray", "import whipray as ray"])
def spelled(engine, request):
    """A function that gives a source with this spelling of the import."""
    if request.param not in engine.import_lines():
        pytest.skip("not a name of this engine")

    def spell(source):
        if request.param == "import ray":
            return source
        source = source.replace("import ray\n", "import whipray as ray\n")
        return re.sub(r"^from ray\.", "from whipray.", source, flags=re.MULTILINE)

    return spell


@pytest.mark.parametrize("name", SMALL)
def test_it_runs(name, spelled, drivers):
    arguments, told = SMALL[name]
    source = spelled((FOLDER / f"{name}.py").read_text())
    driver = drivers.run(source, name=f"{name}.py", arguments=arguments)
    assert re.search(told, driver.stdout, re.DOTALL), driver.told()


def test_every_example_is_tried():
    # The first program of the guide is what `make demo` runs, and has sizes of its own.
    assert {path.stem for path in FOLDER.glob("*.py")} == {*SMALL, "fibonacci"}
