"""The Fibonacci program that users bring along, unmodified but for `init()`."""

import os
import re

import pytest

PROGRAM = """
import os
import time
{import_line}

# Normal Python
def fibonacci_local(sequence_size):
    fibonacci = []
    for i in range(0, sequence_size):
        if i < 2:
            fibonacci.append(i)
            continue
        fibonacci.append(fibonacci[i-1]+fibonacci[i-2])
    return sequence_size

# Ray task
@ray.remote
def fibonacci_distributed(sequence_size):
    fibonacci = []
    for i in range(0, sequence_size):
        if i < 2:
            fibonacci.append(i)
            continue
        fibonacci.append(fibonacci[i-1]+fibonacci[i-2])
    return sequence_size

# Normal Python
def run_local(sequence_size):
    start_time = time.time()
    results = [fibonacci_local(sequence_size) for _ in range(os.cpu_count())]
    duration = time.time() - start_time
    print('Sequence size: {{}}, Local execution time: {{}}'.format(sequence_size, duration))

# Ray
def run_remote(sequence_size):
    # Starting Ray
    start_time = time.time()
    results = ray.get([fibonacci_distributed.remote(sequence_size) for _ in range(os.cpu_count())])
    duration = time.time() - start_time
    print('Sequence size: {{}}, Remote execution time: {{}}'.format(sequence_size, duration))
    print('Results:', results)

ray.init({init})
print('Comparison of sequence size of 10000.')
run_local(10000)
run_remote(10000)
print('Comparison of sequence size of 100000.')
run_local(100000)
run_remote(100000)
ray.shutdown()
"""


def pytest_generate_tests(metafunc):
    if "import_line" in metafunc.fixturenames:
        engine = metafunc.config.getoption("--engine")
        lines = ["import ray", "import whipray as ray"] if engine == "whipray" else ["import ray"]
        metafunc.parametrize("import_line", lines)


def require_right_answers(text):
    sizes = re.findall(r"^Sequence size: (\d+), (Local|Remote) execution time: ", text, re.M)
    assert sizes == [
        ("10000", "Local"),
        ("10000", "Remote"),
        ("100000", "Local"),
        ("100000", "Remote"),
    ]
    for size in (10_000, 100_000):
        assert f"Results: {[size] * os.cpu_count()}" in text


def test_on_its_own_cluster(drivers, import_line):
    driver = drivers.run(PROGRAM.format(import_line=import_line, init=""))
    require_right_answers(driver.stdout)


def test_twice_in_one_process(drivers, import_line):
    program = PROGRAM.format(import_line=import_line, init="")
    again = program[program.index("ray.init()") :]
    driver = drivers.run(program + again, name="twice.py")
    half = len(driver.stdout.splitlines()) // 2
    lines = driver.stdout.splitlines()
    require_right_answers("\n".join(lines[:half]))
    require_right_answers("\n".join(lines[half:]))


@pytest.mark.whipray_only
def test_shim_is_the_same_engine(drivers):
    driver = drivers.run(
        """
        import ray, whipray
        import ray.util.queue, whipray.util.queue
        import ray.exceptions
        from ray.util import ActorPool
        from ray.exceptions import GetTimeoutError

        assert ray.get is whipray.get
        assert ray.util.queue is whipray.util.queue
        assert ray.exceptions is whipray.exceptions
        assert ActorPool is whipray.util.ActorPool
        assert GetTimeoutError is whipray.exceptions.GetTimeoutError
        assert ray.__version__ == "2.60.0"
        print("the same")
        """
    )
    assert "the same" in driver.stdout
