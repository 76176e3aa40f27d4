"""Tasks that are tried again: after a crash of their worker, and after errors if asked for."""

import os
import signal

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


@pytest.fixture
def ledger(tmp_path):
    """A file to which every attempt adds a line."""
    return tmp_path / "attempts"


def attempts(path):
    return len(path.read_text().splitlines())


@pytest.fixture(scope="module")
def crash(ray):
    @ray.remote
    def crash(path):
        with open(path, "a") as file:
            file.write("x\n")
        os._exit(1)

    return crash


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_crashes_are_counted(ray, crash, get, ledger, retries):
    with pytest.raises(ray.exceptions.WorkerCrashedError) as caught:
        get(crash.options(max_retries=retries).remote(ledger))
    assert isinstance(caught.value, ray.exceptions.RayError)
    assert attempts(ledger) == retries + 1


def test_three_retries_by_default(ray, crash, get, ledger):
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        get(crash.remote(ledger))
    assert attempts(ledger) == 4


def test_success_after_crashes(ray, get, ledger):
    @ray.remote(max_retries=-1)
    def third_time():
        with open(ledger, "a") as file:
            file.write("x\n")
        if len(open(ledger).read().splitlines()) < 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return "survived"

    assert get(third_time.remote()) == "survived"
    assert attempts(ledger) == 3


def test_retry_with_large_argument_and_result(ray, get, tmp_path):
    once = tmp_path / "once"

    @ray.remote(max_retries=1)
    def echo(data):
        if not once.exists():
            once.touch()
            os._exit(1)
        return data

    data = b"x" * 1_000_000
    assert get(echo.remote(ray.put(data))) == data


@pytest.mark.parametrize("leave", ["SystemExit(3)", "SystemExit(0)", "sys.exit(1)"])
def test_leaving_python_is_a_crash(ray, get, leave):
    @ray.remote(max_retries=0)
    def depart():
        import sys

        if leave == "sys.exit(1)":
            sys.exit(1)
        raise SystemExit(3 if leave == "SystemExit(3)" else 0)

    with pytest.raises(ray.exceptions.WorkerCrashedError):
        get(depart.remote())


def test_errors_are_not_tried_again_by_default(ray, get, ledger):
    @ray.remote(max_retries=3)
    def fail():
        with open(ledger, "a") as file:
            file.write("x\n")
        raise ValueError("once")

    with pytest.raises(ValueError, match="once"):
        get(fail.remote())
    assert attempts(ledger) == 1


@pytest.mark.parametrize(
    "retry_exceptions, expected",
    [(True, 3), ([ValueError], 3), ([LookupError, ValueError], 3), ([KeyError], 1), (False, 1)],
    ids=str,
)
def test_errors_are_tried_again_when_asked_for(ray, get, ledger, retry_exceptions, expected):
    @ray.remote(max_retries=2, retry_exceptions=retry_exceptions)
    def fail():
        with open(ledger, "a") as file:
            file.write("x\n")
        raise ValueError("every time")

    with pytest.raises(ValueError, match="every time"):
        get(fail.remote())
    assert attempts(ledger) == expected


def test_subclass_of_the_named_error_counts(ray, get, ledger):
    @ray.remote(max_retries=1, retry_exceptions=[LookupError])
    def fail():
        with open(ledger, "a") as file:
            file.write("x\n")
        raise KeyError("a kind of LookupError")

    with pytest.raises(KeyError):
        get(fail.remote())
    assert attempts(ledger) == 2


def test_success_after_errors(ray, get, ledger):
    @ray.remote(retry_exceptions=True)
    def second_time():
        with open(ledger, "a") as file:
            file.write("x\n")
        if len(open(ledger).read().splitlines()) < 2:
            raise ValueError("not yet")
        return "at last"

    assert get(second_time.remote()) == "at last"


@pytest.mark.parametrize(
    "options, kind",
    [
        ({"max_retries": -2}, ValueError),
        ({"max_retries": "3"}, TypeError),
        ({"retry_exceptions": "ValueError"}, TypeError),
        ({"retry_exceptions": [int]}, ValueError),
        ({"max_restarts": 1}, ValueError),
    ],
    ids=str,
)
def test_bad_values(ray, options, kind):
    with pytest.raises(kind):
        ray.remote(**options)(lambda: None)
    with pytest.raises(kind):
        ray.remote(lambda: None).options(**options)


def test_other_tasks_survive_a_crash(ray, crash, get, ledger):
    echo = ray.remote(lambda value: value)
    before = [echo.remote(number) for number in range(20)]
    crashed = crash.options(max_retries=0).remote(ledger)
    after = [echo.remote(number) for number in range(20)]
    assert get(before) == get(after) == list(range(20))
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        get(crashed)


def test_dependent_task_hears_of_the_crash(ray, crash, get, ledger):
    @ray.remote
    def echo(value):
        return value

    with pytest.raises(ray.exceptions.WorkerCrashedError):
        get(echo.remote(crash.options(max_retries=0).remote(ledger)))


@pytest.mark.whipray_only
def test_message_tells_exit_code_and_retries(ray, crash, get, ledger):
    with pytest.raises(ray.exceptions.WorkerCrashedError) as caught:
        get(crash.options(max_retries=1).remote(ledger))
    message = str(caught.value).lower()
    assert "exit" in message and "code 1" in message.replace("code: ", "code ")
    assert "retr" in message


@pytest.mark.whipray_only
def test_message_tells_signal_and_last_words(ray, get):
    @ray.remote(max_retries=0)
    def depart():
        import sys

        print("the last thing that I say", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(ray.exceptions.WorkerCrashedError, match="SIGKILL|signal 9") as caught:
        get(depart.remote())
    assert "the last thing that I say" in str(caught.value)
