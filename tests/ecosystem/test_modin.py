"""modin: dataframes whose partitions are objects of the cluster give what pandas gives."""

import importlib

import pytest

pandas = pytest.importorskip("pandas")
numpy = pytest.importorskip("numpy")
pytest.importorskip("modin")

pytestmark = [
    pytest.mark.cluster(num_cpus=2),
    pytest.mark.usefixtures("cluster"),
    pytest.mark.timeout(600),
]

ROWS = 1_000_000
KEYS = 1000


@pytest.fixture(scope="module")
def modin(cluster):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODIN_ENGINE", "ray")
        patch.setenv("MODIN_CPUS", "2")
        yield importlib.import_module("modin.pandas")


@pytest.fixture(scope="module")
def names():
    return pandas.DataFrame(
        {"key": numpy.arange(KEYS), "name": [f"name {key}" for key in range(KEYS)]}
    )


@pytest.fixture(scope="module")
def frames(modin, tmp_path_factory):
    """The same table of a file, as modin reads it in parallel, and as pandas does."""
    chance = numpy.random.default_rng(1)
    path = tmp_path_factory.mktemp("modin") / "table.csv"
    pandas.DataFrame(
        {
            "key": chance.integers(0, KEYS, ROWS),
            "first": chance.random(ROWS),
            "second": chance.random(ROWS),
        }
    ).to_csv(path, index=False)
    return modin.read_csv(path), pandas.read_csv(path)


def require_same(spread, alone):
    if isinstance(alone, pandas.Series):
        pandas.testing.assert_series_equal(spread._to_pandas(), alone)
    else:
        pandas.testing.assert_frame_equal(spread._to_pandas(), alone)


def test_a_file_is_read(frames):
    require_same(*frames)


@pytest.mark.parametrize(
    "operation",
    [
        lambda frame: frame.groupby("key").mean(),
        lambda frame: frame.groupby("key").agg({"first": "max", "second": "std"}),
        lambda frame: frame.sort_values("first"),
        lambda frame: frame.apply(lambda column: 2 * column),
        lambda frame: frame.head(20_000).apply(lambda row: row["first"] + row["second"], axis=1),
        lambda frame: frame[frame["first"] > 0.5].describe(),
        lambda frame: frame.merge(frame.groupby("key").mean(), on="key"),
    ],
    ids=["groups", "aggregates", "sort", "columns", "rows", "select", "own merge"],
)
def test_it_gives_what_pandas_gives(frames, operation):
    spread, alone = (operation(frame) for frame in frames)
    require_same(spread, alone)


def test_a_merge_with_another_table(modin, frames, names):
    spread, alone = frames
    require_same(spread.merge(modin.DataFrame(names), on="key"), alone.merge(names, on="key"))


def test_to_a_dataset_and_back(modin, frames):
    spread, alone = frames
    dataset = spread.modin.to_ray()
    assert dataset.count() == ROWS
    assert dataset.num_blocks() > 1
    require_same(importlib.import_module("modin.pandas.io").from_ray(dataset), alone)
