"""modin: dataframes whose partitions are objects of the cluster. It imports `ray.data`."""

import importlib
import os

import pytest

pandas = pytest.importorskip("pandas")
pytest.importorskip("modin")
try:
    importlib.import_module("ray.data")
except ImportError:
    pytest.skip("modin imports ray.data, which is not there", allow_module_level=True)

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def modin(cluster):
    os.environ["MODIN_ENGINE"] = "ray"
    return importlib.import_module("modin.pandas")


@pytest.fixture(scope="module")
def columns():
    numpy = importlib.import_module("numpy")
    chance = numpy.random.default_rng(1)
    return {
        "key": chance.integers(0, 50, 20_000),
        "first": chance.random(20_000),
        "second": chance.random(20_000),
    }


@pytest.mark.parametrize(
    "operation",
    [
        lambda frame: frame.groupby("key").mean(),
        lambda frame: frame.sort_values("first"),
        lambda frame: frame.apply(lambda column: 2 * column),
        lambda frame: frame[frame["first"] > 0.5].describe(),
        lambda frame: frame.merge(frame.groupby("key").mean(), on="key"),
    ],
    ids=["groups", "sort", "apply", "select", "merge"],
)
def test_it_gives_what_pandas_gives(modin, columns, operation):
    spread = operation(modin.DataFrame(columns))
    pandas.testing.assert_frame_equal(spread._to_pandas(), operation(pandas.DataFrame(columns)))
