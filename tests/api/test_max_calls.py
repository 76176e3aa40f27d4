"""max_calls: a worker serves so many calls of a function and is replaced."""

import os
import time

import pytest

pytestmark = [
    pytest.mark.cluster(num_cpus=2, num_gpus=2),
    pytest.mark.usefixtures("cluster"),
]


def process_id():
    return os.getpid()


def test_a_process_serves_as_many_calls(ray, get):
    process = ray.remote(max_calls=2)(process_id)
    pids = [get(process.remote()) for _ in range(6)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 2]


def test_calls_at_once(ray, get):
    process = ray.remote(max_calls=1)(process_id)
    assert len(set(get([process.remote() for _ in range(8)]))) == 8


def test_no_call_is_lost_with_its_process(ray, get):
    @ray.remote(max_calls=3, max_retries=0)
    def echo(value):
        return value

    assert get([echo.remote(number) for number in range(60)]) == list(range(60))


def test_large_results_outlive_their_process(ray, get):
    @ray.remote(max_calls=1)
    def make(number):
        return bytes([number]) * 1_000_000

    references = [make.remote(number) for number in range(4)]
    get([ray.remote(lambda: time.sleep(0)).remote() for _ in range(4)])
    assert [get(reference)[0] for reference in references] == [0, 1, 2, 3]


@pytest.mark.parametrize("options, fresh", [({}, True), ({"max_calls": 0}, False)])
def test_calls_with_a_gpu_get_a_process_each(ray, get, options, fresh):
    process = ray.remote(num_gpus=1, **options)(process_id)
    pids = [get(process.remote()) for _ in range(3)]
    assert len(set(pids)) == (3 if fresh else 1)


def test_not_for_actors_nor_as_a_later_option(ray):
    with pytest.raises(ValueError, match="max_calls"):
        ray.remote(max_calls=1)(type("Actor", (), {}))
    with pytest.raises(ValueError, match="max_calls"):
        ray.remote(process_id).options(max_calls=1)
