"""Large collections of dask's: the cluster gives what threads give."""

import importlib

import pytest

dask = pytest.importorskip("dask")
pytest.importorskip("pandas")

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def scheduler(engine):
    return importlib.import_module(f"{engine.name}.util.dask").ray_dask_get


@pytest.fixture(scope="module")
def frame():
    import dask.datasets

    return dask.datasets.timeseries("2000-01-01", "2000-02-01", freq="10s", seed=1)


def same(collection, scheduler):
    """Whether the cluster computes what threads compute, in any order of rows."""
    spread = collection.compute(scheduler=scheduler).sort_index()
    alone = collection.compute(scheduler="threads").sort_index()
    importlib.import_module("pandas.testing").assert_frame_equal(spread, alone)


def test_groups(frame, scheduler):
    same(frame.groupby("name")[["x", "y"]].agg(["mean", "std", "count"]), scheduler)


def test_a_merge_shuffles(frame, scheduler):
    names = frame.groupby("name").x.mean().reset_index().rename(columns={"x": "mean"})
    merged = frame.merge(names, on="name")
    same(merged.groupby("name")[["mean"]].max(), scheduler)


def test_an_index_is_set_after_persist(frame, scheduler):
    # The divisions of the index are computed at once, by whatever scheduler is the default.
    with dask.config.set(scheduler=scheduler):
        ordered = frame.persist().set_index("id").compute()
    assert ordered.index.is_monotonic_increasing
    assert len(ordered) == len(frame)


def test_rolling_windows(frame, scheduler):
    same(frame[["x", "y"]].rolling(100).mean().tail(1000, compute=False), scheduler)


def test_a_product_of_matrices(scheduler):
    import dask.array
    import numpy

    matrix = dask.array.random.default_rng(1).random((2000, 2000), chunks=(500, 500))
    product = (matrix @ matrix.T).persist(scheduler=scheduler)
    own = matrix.compute(scheduler=scheduler)
    assert numpy.allclose(product.compute(scheduler=scheduler), own @ own.T)


def test_a_decomposition(scheduler):
    import dask.array
    import numpy

    matrix = dask.array.random.default_rng(1).random((10_000, 20), chunks=(1000, 20))
    left, values, right = dask.persist(*dask.array.linalg.svd(matrix), scheduler=scheduler)
    product = (left * values @ right).compute(scheduler=scheduler)
    assert numpy.allclose(product, matrix.compute(scheduler=scheduler))
