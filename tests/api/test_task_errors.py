"""Errors of user code: what arrives at whoever asks for the result."""

import asyncio
import builtins
import pickle

import pytest
from harness.engine import plain

pytestmark = [pytest.mark.cluster(num_cpus=4), pytest.mark.usefixtures("cluster")]


def error_of(get, reference):
    """The exception that getting `reference` raises."""
    with pytest.raises(Exception) as caught:
        get(reference)
    return caught.value


@pytest.fixture(scope="module")
def fail(ray):
    @ray.remote
    def fail(kind, *arguments):
        raise kind(*arguments)

    return fail


@pytest.mark.parametrize(
    "kind, arguments",
    [
        (ValueError, ("text", 3)),
        (KeyError, ("key",)),
        (ZeroDivisionError, ()),
        (OSError, ("no such thing",)),
        (FileNotFoundError, (2, "no such file")),
        (StopIteration, (1,)),
        (AssertionError, ("asserted",)),
        # Arrived as a RayTaskError that no `except MemoryError` caught.
        (MemoryError, ("no room",)),
        # Was taken for the cancellation of the task.
        (asyncio.CancelledError, ("a coroutine of the task's own",)),
        (UnicodeDecodeError, ("utf-8", b"x", 0, 1, "why")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_is_an_instance_of_the_cause(ray, fail, get, kind, arguments):
    error = error_of(get, fail.remote(kind, *arguments))
    assert isinstance(error, kind)
    assert isinstance(error, ray.exceptions.RayTaskError)
    assert isinstance(error, ray.exceptions.RayError)
    assert type(error).__name__ == f"RayTaskError({kind.__name__})"
    assert type(error.cause) is kind
    assert error.cause.args == arguments


def test_only_argument_is_the_cause(fail, get):
    error = error_of(get, fail.remote(ValueError, "text", 3))
    assert error.args == (error.cause,)


def test_own_class_with_attributes(ray, get):
    class Refused(ValueError):
        def __init__(self, reason):
            super().__init__(f"refused: {reason}")
            self.reason = reason

        def __reduce__(self):
            return Refused, (self.reason,)

    @ray.remote
    def refuse():
        raise Refused("no money")

    error = error_of(get, refuse.remote())
    assert isinstance(error, Refused)
    assert error.cause.reason == "no money"
    assert "refused: no money" in str(error)


def test_message_names_function_process_and_line(fail, get):
    message = plain(str(error_of(get, fail.remote(ValueError, "where was it"))))
    assert "ray::fail() (pid=" in message
    assert "ip=" in message
    assert __file__ in message
    assert "in fail" in message
    assert "raise kind(*arguments)" in message
    assert message.rstrip().endswith("ValueError: where was it")


def test_message_names_the_actors_method(ray, get):
    @ray.remote
    class Actor:
        def fail(self):
            raise ValueError("in a method")

    message = plain(str(error_of(get, Actor.remote().fail.remote())))
    assert "Actor.fail() (pid=" in message
    assert "actor_id=" in message
    assert "ValueError: in a method" in message


def test_message_has_the_frames_of_every_hop(ray, get):
    @ray.remote
    def innermost():
        raise LookupError("deep down")

    @ray.remote
    def middle():
        return ray.get(innermost.remote())

    @ray.remote
    def outermost():
        return ray.get(middle.remote())

    error = error_of(get, outermost.remote())
    assert isinstance(error, LookupError)
    message = plain(str(error))
    order = [message.index(f"ray::{name}()") for name in ("outermost", "middle", "innermost")]
    assert order == sorted(order)
    for name in ("outermost", "middle", "innermost"):
        assert f"in {name}" in message
    assert "ray.get(middle.remote())" in message
    assert "ray.get(innermost.remote())" in message
    assert message.rstrip().endswith("LookupError: deep down")


def test_message_has_the_frames_of_helpers(ray, get):
    def helper(value):
        return 1 / value

    @ray.remote
    def divide(value):
        return helper(value)

    message = plain(str(error_of(get, divide.remote(0))))
    assert "in divide" in message and "in helper" in message
    assert "return 1 / value" in message


def test_failed_argument(ray, fail, get):
    @ray.remote
    def use(value):
        return value

    error = error_of(get, use.remote(fail.remote(KeyError, "not made")))
    assert isinstance(error, KeyError)
    message = plain(str(error))
    assert "At least one of the input arguments for this task could not be computed" in message
    assert "ray::use()" in message and "ray::fail()" in message


def test_failure_passes_through_a_chain(ray, fail, get):
    @ray.remote
    def use(value):
        return value

    reference = fail.remote(ZeroDivisionError, "start")
    for _ in range(3):
        reference = use.remote(reference)
    assert isinstance(error_of(get, reference), ZeroDivisionError)


def test_chained_exception(ray, get):
    @ray.remote
    def chained():
        try:
            raise KeyError("the reason")
        except KeyError as reason:
            raise ValueError("the consequence") from reason

    error = error_of(get, chained.remote())
    assert isinstance(error, ValueError)
    message = plain(str(error))
    assert "the reason" in message and "the consequence" in message


def test_task_can_catch_the_error_of_its_task(ray, fail, get):
    @ray.remote
    def careful():
        try:
            ray.get(fail.remote(KeyError, "inner"))
        except KeyError as error:
            return type(error.cause).__name__

    assert get(careful.remote()) == "KeyError"


def test_exception_that_cannot_be_pickled(ray, get):
    @ray.remote
    def fail():
        import threading

        class Locked(Exception):
            def __init__(self, text):
                super().__init__(text)
                self.lock = threading.Lock()

        raise Locked("cannot travel")

    error = error_of(get, fail.remote())
    assert isinstance(error, ray.exceptions.RayTaskError)
    message = plain(str(error))
    assert "cannot travel" in message
    assert "Locked" in message
    assert "in fail" in message


def test_exception_that_cannot_be_unpickled(ray, get):
    class TwoArguments(Exception):
        def __init__(self, first, second):
            super().__init__(first)
            self.second = second

    @ray.remote
    def fail():
        raise TwoArguments("only one is kept", 2)

    error = error_of(get, fail.remote())
    assert isinstance(error, ray.exceptions.RayError)
    message = plain(str(error))
    assert "only one is kept" in message
    assert "TwoArguments" in message


def test_exception_as_a_value_is_just_a_value(ray, get):
    error = get(ray.put(ValueError("harmless")))
    assert type(error) is ValueError and error.args == ("harmless",)
    error = get(ray.remote(lambda: ValueError("harmless")).remote())
    assert type(error) is ValueError


def test_error_can_be_pickled(ray, fail, get):
    error = error_of(get, fail.remote(ValueError, "travels on"))
    again = ray.cloudpickle.loads(ray.cloudpickle.dumps(error))
    assert isinstance(again, ValueError)
    assert "travels on" in str(again)


def test_error_passed_to_another_task(ray, fail, get):
    error = error_of(get, fail.remote(ValueError, "seen by another"))
    assert "seen by another" in get(ray.remote(lambda items: str(items[0])).remote([error]))


def test_keyboard_interrupt_in_a_task(ray, fail, get):
    assert isinstance(error_of(get, fail.remote(KeyboardInterrupt)), ray.exceptions.RayError)


def test_base_exception_in_a_task(ray, get):
    class Stop(BaseException):
        pass

    @ray.remote(max_retries=0)
    def fail():
        raise Stop("beyond Exception")

    assert isinstance(error_of(get, fail.remote()), ray.exceptions.RayError)


def test_exception_group(ray, get):
    group_class = getattr(builtins, "ExceptionGroup", None)
    if group_class is None:
        pytest.skip("this Python has no exception groups")

    @ray.remote
    def fail():
        raise group_class("several", [ValueError("one"), KeyError("two")])

    error = error_of(get, fail.remote())
    assert isinstance(error, ray.exceptions.RayTaskError)
    assert "several" in str(error)


def test_syntax_of_repr(fail, get):
    error = error_of(get, fail.remote(ValueError, "short"))
    assert "RayTaskError(ValueError)" in repr(error)
    assert "short" in repr(error)


def test_recursion_error(ray, get):
    @ray.remote
    def dive():
        return dive_locally(0)

    def dive_locally(depth):
        return dive_locally(depth + 1)

    assert isinstance(error_of(get, dive.remote()), RecursionError)


def test_pickle_of_the_modules_own_errors(ray):
    for error in (ray.exceptions.GetTimeoutError("late"), ray.exceptions.ActorDiedError()):
        assert type(pickle.loads(pickle.dumps(error))) is type(error)
