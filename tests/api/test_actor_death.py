"""How actors die, and what their callers hear."""

import os
import signal
import sys

import pytest
from harness.waiting import until

pytestmark = [pytest.mark.cluster(num_cpus=4), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def mortal_class(ray):
    @ray.remote(num_cpus=0)
    class Mortal:
        def process(self):
            return os.getpid()

        def exit_process(self, code):
            os._exit(code)

        def exit_python(self, code):
            sys.exit(code)

        def exit_actor(self):
            ray.actor.exit_actor()

        def last_words(self):
            print("these were my last words", file=sys.stderr, flush=True)
            os._exit(9)

    return Mortal


@pytest.fixture
def mortal(mortal_class, get):
    actor = mortal_class.remote()
    get(actor.process.remote())
    return actor


def test_kill(ray, mortal, get):
    assert ray.kill(mortal) is None
    with pytest.raises(ray.exceptions.ActorDiedError, match=r"killed by `?ray\.kill") as caught:
        get(mortal.process.remote())
    assert isinstance(caught.value, ray.exceptions.RayActorError)
    assert isinstance(caught.value, ray.exceptions.RayError)


def test_kill_twice(ray, mortal):
    ray.kill(mortal)
    ray.kill(mortal)


def test_kill_before_the_actor_runs(ray, get):
    @ray.remote(resources={"unobtainable": 1})
    class Waiting:
        def hello(self):
            return "hello"

    actor = Waiting.remote()
    reference = actor.hello.remote()
    ray.kill(actor)
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(reference)


def test_kill_ends_calls_in_flight(ray, get, tmp_path):
    started = tmp_path / "started"

    @ray.remote
    class Busy:
        def work(self):
            import time

            started.touch()
            while True:
                time.sleep(0.05)

        def later(self):
            return "never"

    actor = Busy.remote()
    running, queued = actor.work.remote(), actor.later.remote()
    until(started.exists, "the call runs")
    ray.kill(actor)
    for reference in (running, queued):
        with pytest.raises(ray.exceptions.ActorDiedError):
            get(reference)


@pytest.mark.parametrize("wrong", [3, "name", None])
def test_kill_needs_a_handle(ray, wrong):
    with pytest.raises(ValueError, match="only supported for actors"):
        ray.kill(wrong)


def test_kill_of_a_reference(ray):
    with pytest.raises(ValueError, match=r"For tasks, try ray\.cancel"):
        ray.kill(ray.put(1))


def test_process_exits(ray, mortal, get):
    with pytest.raises(ray.exceptions.ActorDiedError) as caught:
        get(mortal.exit_process.remote(7))
    assert "Mortal" in str(caught.value)
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(mortal.process.remote())


def test_system_exit(ray, mortal, get):
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(mortal.exit_python.remote(3))
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(mortal.process.remote())


def test_exit_actor(ray, mortal, get):
    for reference in (mortal.exit_actor.remote(), mortal.process.remote()):
        with pytest.raises(ray.exceptions.ActorDiedError, match=r"exit_actor\(\)"):
            get(reference)


def test_exit_actor_outside_of_an_actor(ray):
    with pytest.raises(TypeError):
        ray.actor.exit_actor()


def test_killed_by_a_signal(ray, mortal, get):
    os.kill(get(mortal.process.remote()), signal.SIGKILL)
    with pytest.raises(ray.exceptions.RayActorError):
        get(mortal.process.remote())
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(mortal.process.remote())


def test_error_tells_which_actor_it_was(ray, mortal, get):
    ray.kill(mortal)
    with pytest.raises(ray.exceptions.ActorDiedError) as caught:
        get(mortal.process.remote())
    assert caught.value.actor_id == mortal._actor_id.hex()
    assert caught.value.actor_id in str(caught.value)
    assert caught.value.actor_init_failed is False
    assert caught.value.preempted is False


def test_constructor_fails(ray, get):
    @ray.remote
    class Broken:
        def __init__(self):
            raise ValueError("broken from the start")

        def hello(self):
            return "hello"

    actor = Broken.remote()
    with pytest.raises(ray.exceptions.ActorDiedError) as caught:
        get(actor.hello.remote())
    message = str(caught.value)
    assert "error raised in its creation task" in message
    assert "ValueError: broken from the start" in message
    assert "__init__" in message
    assert caught.value.actor_init_failed is True
    assert not isinstance(caught.value, ValueError)


def test_argument_of_the_constructor_failed(ray, get):
    @ray.remote
    def fail():
        raise ZeroDivisionError("no argument")

    @ray.remote
    class Plain:
        def __init__(self, value):
            self.value = value

        def hello(self):
            return "hello"

    actor = Plain.remote(fail.remote())
    with pytest.raises(ray.exceptions.ActorDiedError, match="ZeroDivisionError: no argument"):
        get(actor.hello.remote())


def test_process_exits_in_the_constructor(ray, get):
    @ray.remote
    class Broken:
        def __init__(self):
            os._exit(4)

        def hello(self):
            return "hello"

    with pytest.raises(ray.exceptions.ActorDiedError):
        get(Broken.remote().hello.remote())


def test_argument_of_a_call_failed(ray, mortal_class, get):
    @ray.remote
    def fail():
        raise ZeroDivisionError("no argument")

    @ray.remote
    class Plain:
        def echo(self, value):
            return value

    actor = Plain.remote()
    with pytest.raises(ZeroDivisionError, match="no argument"):
        get(actor.echo.remote(fail.remote()))
    assert get(actor.echo.remote(1)) == 1


def test_result_of_a_dead_actor_is_still_there(ray, get):
    @ray.remote
    class Maker:
        def small(self):
            return "small"

        def large(self):
            return b"x" * 500_000

    actor = Maker.remote()
    small, large = actor.small.remote(), actor.large.remote()
    ray.wait([small, large], num_returns=2)
    ray.kill(actor)
    assert get(small) == "small"
    assert len(get(large)) == 500_000


@pytest.mark.whipray_only
def test_message_tells_the_exit_code(ray, mortal, get):
    with pytest.raises(ray.exceptions.ActorDiedError, match=r"(?i)exit(ed with)? code:? 7"):
        get(mortal.exit_process.remote(7))


@pytest.mark.whipray_only
def test_message_tells_the_signal(ray, mortal, get):
    os.kill(get(mortal.process.remote()), signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(ray.exceptions.RayActorError, match="SIGKILL|signal 9"):
            get(mortal.process.remote())


@pytest.mark.whipray_only
def test_message_ends_with_the_last_words(ray, mortal, get):
    with pytest.raises(ray.exceptions.ActorDiedError, match="these were my last words"):
        get(mortal.last_words.remote())
