"""What user code does inside of tasks: threads, processes, standard streams, globals."""

import os
import sys

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


def test_subprocess(ray, get):
    @ray.remote
    def run():
        import subprocess

        done = subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True)
        return done.returncode, done.stdout.strip()

    assert get(run.remote()) == (0, b"42")


def test_fork(ray, get):
    @ray.remote
    def fork():
        child = os.fork()
        if child == 0:
            os._exit(5)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)

    assert get(fork.remote()) == 5
    assert get(ray.remote(lambda: "still works").remote()) == "still works"


def test_multiprocessing(ray, get):
    @ray.remote
    def spread():
        import multiprocessing

        with multiprocessing.get_context("fork").Pool(2) as pool:
            return pool.map(abs, [-1, -2, 3])

    assert get(spread.remote()) == [1, 2, 3]


def test_threads_that_use_the_engine(ray, get):
    @ray.remote
    def fan():
        from concurrent.futures import ThreadPoolExecutor

        echo = ray.remote(num_cpus=0.1)(lambda value: value)
        with ThreadPoolExecutor(4) as threads:
            return list(threads.map(lambda n: ray.get(echo.remote(n)), range(12)))

    assert get(fan.remote()) == list(range(12))


def test_event_loop_in_a_task(ray, get):
    @ray.remote
    def run():
        import asyncio

        async def read():
            first = ray.put(1)
            return await first + await ray.remote(num_cpus=0.1)(lambda: 2).remote()

        return asyncio.run(read())

    assert get(run.remote()) == 3


def test_standard_input_is_empty(ray, get):
    assert get(ray.remote(lambda: sys.stdin.read()).remote()) == ""


def test_main_module_and_arguments(ray, get):
    @ray.remote
    def look():
        import __main__

        return __main__.__name__, isinstance(sys.argv, list)

    assert get(look.remote()) == ("__main__", True)


def test_signal_handlers_are_the_users(ray, get):
    @ray.remote
    def handle():
        import signal

        seen = []
        signal.signal(signal.SIGUSR1, lambda *_: seen.append("heard"))
        os.kill(os.getpid(), signal.SIGUSR1)
        return seen

    assert get(handle.remote()) == ["heard"]


def test_random_numbers_differ_between_workers(ray, get, tmp_path):
    """Workers that come from one template must not share its random state."""

    @ray.remote(num_cpus=0)
    class Dice:
        def roll(self):
            import random
            import uuid

            return random.random(), uuid.uuid4().hex, os.urandom(8)

    rolls = get([Dice.remote().roll.remote() for _ in range(3)])
    for column in zip(*rolls):
        assert len(set(column)) == 3


def test_numpy_random_numbers_differ_between_workers(ray, get):
    @ray.remote(num_cpus=0)
    class Dice:
        def roll(self):
            import numpy

            return float(numpy.random.random())

    assert len(set(get([Dice.remote().roll.remote() for _ in range(3)]))) == 3


def test_time_and_locale_are_usable(ray, get):
    @ray.remote
    def look():
        import locale
        import time

        return time.time() > 0, locale.getpreferredencoding()

    assert get(look.remote())[0] is True


def test_working_folder_is_the_drivers(ray, get):
    assert get(ray.remote(lambda: os.getcwd()).remote()) == os.getcwd()


def test_globals_of_a_worker_do_not_reach_the_driver(ray, get):
    import collections

    @ray.remote
    def spoil():
        collections.spoilt = True

    get(spoil.remote())
    assert not hasattr(collections, "spoilt")


def test_result_that_is_large_and_nested(ray, get):
    @ray.remote
    def make():
        return {"rows": [{"n": n, "text": "x" * 100} for n in range(5000)]}

    rows = get(make.remote())["rows"]
    assert len(rows) == 5000 and rows[-1] == {"n": 4999, "text": "x" * 100}


def test_generator_as_a_result_is_refused_or_streamed(ray, get):
    """A plain value of a generator cannot travel; what Ray gives is a stream of references."""

    @ray.remote(num_returns=3)
    def numbers():
        yield 1
        yield 2
        yield 3

    assert get(numbers.remote()) == [1, 2, 3]


def test_default_arguments_and_keyword_only(ray, get):
    @ray.remote
    def function(first, /, second=2, *, third=3):
        return first, second, third

    assert get(function.remote(1)) == (1, 2, 3)
    assert get(function.remote(1, second=0, third=9)) == (1, 0, 9)
    with pytest.raises(TypeError):
        function.remote(first=1)


def test_partial_and_bound_method(ray, get):
    class Adder:
        def __init__(self, amount):
            self.amount = amount

        def add(self, value):
            return self.amount + value

    apply = ray.remote(lambda function, *values: function(*values))
    assert get(apply.remote(Adder(3).add, 4)) == 7


def test_dataclass_and_its_defaults(ray, get):
    import dataclasses

    @dataclasses.dataclass
    class Job:
        name: str
        sizes: list = dataclasses.field(default_factory=list)

    grow = ray.remote(lambda job: dataclasses.replace(job, sizes=[*job.sizes, 1]))
    job = get(grow.remote(Job("build")))
    assert job.name == "build" and job.sizes == [1]
