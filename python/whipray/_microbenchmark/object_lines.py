"""Lines about objects: get, put, bandwidth, references inside objects."""

from __future__ import annotations

from typing import Any

from .line import Line, Repetition

GIGABYTE = 1e9
LARGE_ELEMENTS = 100 * 1024 * 1024
PART_ELEMENTS = 10 * 1024 * 1024
PUTTING_TASKS = 10
PUTS_PER_TASK = 10
SMALL_PUTS_PER_TASK = 100
NESTED_REFERENCES = 10_000

# The bandwidth lines count an array of 100 Mi elements of 8 bytes as 0.8 GB, as Ray's do: it has
# 0.839 GB in truth. Ratios are not touched by it; comparisons with a copy have to correct for it.
COUNTED_LARGE_GIGABYTES = 0.8
COUNTED_PART_GIGABYTES = 0.08
TRUE_GIGABYTES_PER_COUNTED = LARGE_ELEMENTS * 8 / GIGABYTE / COUNTED_LARGE_GIGABYTES


def _get_small(engine: Any) -> Repetition:
    reference = engine.put(0)
    return lambda: engine.get(reference)


def _put_small(engine: Any) -> Repetition:
    return lambda: engine.put(0)


def _put_small_from_tasks(engine: Any) -> Repetition:
    @engine.remote
    def put_many() -> None:
        for _ in range(SMALL_PUTS_PER_TASK):
            engine.put(0)

    return lambda: engine.get([put_many.remote() for _ in range(PUTTING_TASKS)])


def _put_large(engine: Any) -> Repetition:
    import numpy

    array = numpy.zeros(LARGE_ELEMENTS, dtype=numpy.int64)

    def repetition() -> None:
        engine.put(array)

    return repetition


def _put_large_from_tasks(engine: Any) -> Repetition:
    import numpy

    @engine.remote
    def put_parts() -> None:
        for _ in range(PUTS_PER_TASK):
            engine.put(numpy.zeros(PART_ELEMENTS, dtype=numpy.int64))

    return lambda: engine.get([put_parts.remote() for _ in range(PUTTING_TASKS)])


def _get_nested_references(engine: Any) -> Repetition:
    @engine.remote
    def make() -> list[Any]:
        return [engine.put(1) for _ in range(NESTED_REFERENCES)]

    holder = make.remote()

    def repetition() -> None:
        engine.get(holder)

    return repetition


GET_SMALL = Line("single client get calls (Plasma Store)", _get_small)
PUT_SMALL = Line("single client put calls (Plasma Store)", _put_small)
PUT_SMALL_FROM_TASKS = Line(
    "multi client put calls (Plasma Store)",
    _put_small_from_tasks,
    operations=PUTTING_TASKS * SMALL_PUTS_PER_TASK,
)
PUT_LARGE = Line(
    "single client put gigabytes",
    _put_large,
    operations=COUNTED_LARGE_GIGABYTES,
    unit="GB",
    needs=("numpy",),
    alone=True,
)
PUT_LARGE_FROM_TASKS = Line(
    "multi client put gigabytes",
    _put_large_from_tasks,
    operations=PUTTING_TASKS * PUTS_PER_TASK * COUNTED_PART_GIGABYTES,
    unit="GB",
    needs=("numpy",),
    alone=True,
)
GET_NESTED_REFERENCES = Line("single client get object containing 10k refs", _get_nested_references)
