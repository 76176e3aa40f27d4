"""The tests that CPython has for its own pool of processes, on `ray.util.multiprocessing.Pool`.

They come with the interpreter, where its package `test` is installed.
"""

import importlib
import multiprocessing
import unittest

import pytest

own = pytest.importorskip("test._test_multiprocessing")

pytestmark = [pytest.mark.cluster(num_cpus=8), pytest.mark.usefixtures("pool_class")]

LEFT_OUT = {
    "test_make_pool": "looks into the pool's list of processes",
    "test_pool_worker_lifetime": "looks into the pool's list of processes",
    "test_resource_warning": "sets the pool's inner state",
    "test_unpickleable_result": "returns a lambda, which can travel here",
}
"""Tests about the inside of that pool, and why they say nothing about another one."""


@pytest.fixture(scope="module")
def pool_class(engine, cluster):
    """Has the tests use the engine's pool; some take it from the class, some from the module."""
    with pytest.MonkeyPatch.context() as patch:
        pool = importlib.import_module(f"{engine.name}.util.multiprocessing").Pool
        patch.setattr(multiprocessing, "Pool", pool)
        for name in TESTS:
            patch.setattr(globals()[name], "Pool", pool, raising=False)
        yield


TESTS = ("_TestPool", "_TestPoolWorkerLifetime", "_TestPoolWorkerErrors")
for name in TESTS:
    of_cpython = getattr(own, name)
    members = {"TYPE": "processes", "pytestmark": pytestmark}
    for test in LEFT_OUT:
        if hasattr(of_cpython, test):
            members[test] = pytest.mark.skip(reason=LEFT_OUT[test])(getattr(of_cpython, test))
    globals()[name] = type(name, (of_cpython, unittest.TestCase), members)
