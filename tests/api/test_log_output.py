"""What tasks and actors print reaches the driver, and stays in a file."""

import re
from pathlib import Path

import pytest
from harness.waiting import until

PROLOGUE = """
import os, sys, time
{import_line}
ray.init(num_cpus=4, include_dashboard=False{options})


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "gave up"
        time.sleep(0.01)


def say(*words):
    # In one piece: lines of tasks may come between the pieces of which `print` makes a line.
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
"""


# The driver lives until the test has seen what it waits for, and prints meanwhile: Ray hands lines
# over late, loses those that are on their way at the end, and tells repetitions with later lines.
EPILOGUE = """

@ray.remote
def tick():
    print("tick", flush=True)

while not os.path.exists({release!r}):
    ray.get(tick.remote(), timeout=60)
    time.sleep(0.1)
ray.shutdown()
"""


@pytest.fixture
def run(engine, drivers, tmp_path):
    """`run(source, *shows)` runs a driver until each of `shows` came `times`, and to its end."""

    def run(source, *shows, times=1, options="", **more):
        release = tmp_path / "release"
        prologue = PROLOGUE.format(import_line=engine.import_lines()[0], options=options)
        epilogue = EPILOGUE.format(release=str(release))
        driver = drivers.start(prologue + source + epilogue, **more)

        def has_shown():
            told = driver.stdout + driver.stderr
            has_ended = driver.process.poll() is not None
            return has_ended or all(told.count(text) >= times for text in shows)

        until(has_shown, f"the driver shows {shows}")
        release.touch()
        assert driver.finish() == 0, driver.told()
        return driver

    return run


def prefixed(text, prefix, line):
    """Process ids of the lines `(prefix pid=N) line` in `text`, whatever follows on the line."""
    pattern = rf"^\({re.escape(prefix)} pid=(\d+)\) {re.escape(line)}(?:$| \[repeated)"
    return re.findall(pattern, text, re.MULTILINE)


def test_lines_of_a_task(run):
    driver = run(
        """
@ray.remote
def speak():
    print("to standard output")
    print("to standard error", file=sys.stderr)
    return os.getpid()

say("process", ray.get(speak.remote(), timeout=60))
""",
        "to standard output",
        "to standard error",
    )
    (process,) = re.findall(r"^process (\d+)$", driver.stdout, re.MULTILINE)
    assert prefixed(driver.stdout, "speak", "to standard output") == [process]
    assert prefixed(driver.stderr, "speak", "to standard error") == [process]
    assert "to standard error" not in driver.stdout


def test_name_of_the_task_comes_first(run):
    driver = run(
        """
@ray.remote
def speak():
    print("named")

ray.get(speak.options(name="renamed").remote(), timeout=60)
""",
        ") named",
    )
    assert len(prefixed(driver.stdout, "renamed", "named")) == 1


def test_lines_of_actors(run):
    driver = run(
        """
@ray.remote
class Plain:
    def __init__(self):
        print("constructed")

    def speak(self):
        print("spoken")

@ray.remote
class Described:
    def __repr__(self):
        return "Described(7)"

    def speak(self):
        print("described")

plain, described = Plain.options(name="given name").remote(), Described.remote()
ray.get([plain.speak.remote(), described.speak.remote()], timeout=60)
""",
        "constructed",
        "spoken",
        ") described",
    )
    assert len(prefixed(driver.stdout, "Plain", "constructed")) == 1
    assert len(prefixed(driver.stdout, "Plain", "spoken")) == 1
    assert len(prefixed(driver.stdout, "Described(7)", "described")) == 1


def test_output_before_a_crash_arrives(run):
    driver = run(
        """
@ray.remote(max_retries=0)
def crash():
    print("last line", flush=True)
    os._exit(1)

try:
    ray.get(crash.remote(), timeout=60)
except ray.exceptions.WorkerCrashedError:
    sys.stdout.write("crashed\\n")  # In one piece: lines of workers are printed meanwhile.
""",
        "last line",
    )
    assert "crashed" in driver.stdout
    assert len(prefixed(driver.stdout, "crash", "last line")) == 1


def test_output_of_child_processes_and_of_logging(run):
    driver = run(
        """
@ray.remote
def speak():
    import logging, subprocess
    subprocess.run(["echo", "from a child process"], check=True)
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("mine").warning("from a logger")

ray.get(speak.remote(), timeout=60)
""",
        "from a child process",
        "from a logger",
    )
    assert len(prefixed(driver.stdout, "speak", "from a child process")) == 1
    assert "from a logger" in driver.stderr


def test_same_line_of_many_workers_is_told_once(run, tmp_path):
    driver = run(
        f"""
gates = {str(tmp_path)!r}

@ray.remote
def speak(number):
    open(f"{{gates}}/at{{number}}", "w").close()
    until(lambda: len([name for name in os.listdir(gates) if name.startswith("at")]) == 4)
    print("the same everywhere")

ray.get([speak.remote(number) for number in range(4)], timeout=100)
""",
        "the same everywhere",
        "[repeated 3x across cluster]",
    )
    lines = prefixed(driver.stdout, "speak", "the same everywhere")
    assert len(lines) == 2
    assert len(set(lines)) == 2
    assert re.search(r"the same everywhere \[repeated 3x across cluster\]", driver.stdout)
    assert "RAY_DEDUP_LOGS=0" in driver.stdout


def test_deduplication_can_be_switched_off(run, tmp_path):
    driver = run(
        f"""
gates = {str(tmp_path)!r}

@ray.remote
def speak(number):
    open(f"{{gates}}/at{{number}}", "w").close()
    until(lambda: len([name for name in os.listdir(gates) if name.startswith("at")]) == 4)
    print("the same everywhere")

ray.get([speak.remote(number) for number in range(4)], timeout=100)
""",
        "the same everywhere",
        times=4,
        environment={"RAY_DEDUP_LOGS": "0"},
    )
    assert len(set(prefixed(driver.stdout, "speak", "the same everywhere"))) == 4
    assert "[repeated" not in driver.stdout


def test_repeated_lines_of_one_worker_are_all_told(run):
    driver = run(
        """
@ray.remote
def speak():
    for _ in range(5):
        print("again and again")
    print("said it all")

ray.get(speak.remote(), timeout=60)
""",
        "again and again",
        "said it all",
    )
    assert len(prefixed(driver.stdout, "speak", "again and again")) == 5


def test_numbers_do_not_make_lines_different(run, tmp_path):
    driver = run(
        f"""
gates = {str(tmp_path)!r}

@ray.remote
def speak(number):
    open(f"{{gates}}/at{{number}}", "w").close()
    until(lambda: len([name for name in os.listdir(gates) if name.startswith("at")]) == 4)
    print("step", number, "of four")

ray.get([speak.remote(number) for number in range(4)], timeout=100)
""",
        "of four [repeated 3x across cluster]",
    )
    assert re.search(r"step \d of four \[repeated 3x across cluster\]", driver.stdout)


@pytest.mark.whipray_only
def test_nothing_is_lost_when_the_driver_ends_at_once(engine, drivers):
    prologue = PROLOGUE.format(import_line=engine.import_lines()[0], options="")
    driver = drivers.run(
        prologue
        + """
@ray.remote
def speak(number):
    print("line", "abcdefgh"[number])

ray.get([speak.remote(number) for number in range(8)], timeout=60)
ray.shutdown()
say("after shutdown")
"""
    )
    before, _, after = driver.stdout.partition("after shutdown")
    assert sorted(re.findall(r"line (\w)", before)) == list("abcdefgh")
    assert "line" not in after


@pytest.mark.whipray_only
def test_last_words_without_the_end_of_a_line(engine, drivers):
    """They were lost where the worker lived as long as its driver."""
    driver = drivers.run(
        f"""
        import sys
        {engine.import_lines()[0]}
        ray.init(num_cpus=1, include_dashboard=False)

        @ray.remote
        def speak():
            print("last words", end="", flush=True)

        ray.get(speak.remote(), timeout=60)
        """
    )
    assert "last words" in driver.stdout


def test_the_beginning_of_a_line_is_told_before_its_end(run, tmp_path):
    """Bars of progress were not seen before the task had ended."""
    gate = tmp_path / "gate"
    driver = run(
        f"""
@ray.remote
def speak():
    print("the first half", end="", flush=True)
    until(lambda: os.path.exists({str(gate)!r}))
    print(" and more")

speaking = speak.remote()
while not os.path.exists({str(tmp_path / "release")!r}):
    time.sleep(0.01)
open({str(gate)!r}, "w").close()
ray.get(speaking, timeout=60)
""",
        "the first half",
    )
    assert len(prefixed(driver.stdout, "speak", "the first half")) == 1


def test_forwarding_can_be_switched_off(run):
    driver = run(
        """
@ray.remote
def speak():
    print("unheard")

ray.get(speak.remote(), timeout=60)
""",
        options=", log_to_driver=False",
    )
    assert "unheard" not in driver.stdout + driver.stderr


def test_lines_stay_in_a_file_of_the_worker(run):
    driver = run(
        """
@ray.remote
def speak():
    print("kept in a file", flush=True)
    return os.getpid()

context = ray.get_runtime_context()
process = ray.get(speak.remote(), timeout=60)
say("where", process, context.get_temp_dir(), context.get_session_name())
""",
        "kept in a file",
    )
    where = re.findall(r"^where (\d+) (\S+) (\S+)$", driver.stdout, re.MULTILINE)
    ((process, folder, session),) = where
    logs = Path(folder) / session / "logs"
    (file,) = logs.glob(f"worker-*-{process}.out")
    assert "kept in a file" in file.read_text()
    assert len(list(logs.glob(f"worker-*-{process}.err"))) == 1
    latest = Path(folder) / "session_latest"
    assert latest.is_symlink()


def test_long_lines_and_odd_characters(run):
    driver = run(
        """
@ray.remote
def speak():
    print("x" * 20000)
    print("\\u00e9 \\U0001f600 end")
    sys.stdout.flush()
    sys.stdout.buffer.write(b"bad \\xff byte\\nend of all\\n")

ray.get(speak.remote(), timeout=60)
""",
        "end of all",
        environment={"PYTHONIOENCODING": "utf-8"},
    )
    assert "x" * 20000 in driver.stdout
    assert "\u00e9 \U0001f600 end" in driver.stdout
    assert re.search(r"bad .{1,4} byte", driver.stdout)


def test_error_that_nobody_asked_for_is_told(run):
    driver = run(
        """
@ray.remote
def fail():
    raise ValueError("nobody asked")

fail.remote()
""",
        "nobody asked",
    )
    assert "ValueError: nobody asked" in driver.stderr


def test_impossible_request_is_told(run):
    """Ray tells it on standard output after some seconds, we at once on standard error."""
    driver = run(
        """
reference = ray.remote(num_cpus=64)(lambda: 1).remote()
end = time.monotonic() + 15
while time.monotonic() < end:
    ready, _ = ray.wait([reference], timeout=0.1)
    assert not ready
    if "whipray" in ray.__name__:
        break
"""
    )
    told = driver.stdout + driver.stderr
    assert "CPU" in told and "64" in told
