"""Daft's Ray runner: its scheduler, workers and exchanges of data are actors and tasks here."""

import pytest

pytest.importorskip("daft")

PROGRAM = """
import ray
ray.init(num_cpus=3)
import daft
from daft import DataType

daft.set_runner_ray(noop_if_initialized=True)
left = daft.from_pydict({"key": [1, 2, 3, 4] * 10, "value": list(range(40))})
left = left.repartition(4, "key")
right = daft.from_pydict({"key": [1, 2, 3], "name": ["a", "b", "c"]})
sums = left.join(right, on="key").groupby("name").agg(daft.col("value").sum()).sort("name")
assert sums.to_pydict() == {"name": ["a", "b", "c"], "value": [180, 190, 200]}

@daft.udf(return_dtype=DataType.int64())
def double(values):
    return [2 * value for value in values.to_pylist()]

doubled = left.with_column("twice", double(daft.col("value"))).agg(daft.col("twice").sum())
assert doubled.to_pydict() == {"twice": [1560]}
"""

POOL = """
@daft.udf(return_dtype=DataType.int64(), concurrency=2)
class Add:
    def __init__(self):
        self.amount = 10

    def __call__(self, values):
        return [value + self.amount for value in values.to_pylist()]

added = left.with_column("more", Add(daft.col("value"))).agg(daft.col("more").sum())
assert added.to_pydict() == {"more": [1180]}
"""


def test_joins_groups_and_functions(drivers):
    drivers.run(PROGRAM)


def test_a_function_with_state_in_a_pool_of_actors(drivers):
    drivers.run(PROGRAM + POOL)
