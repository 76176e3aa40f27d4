"""Actors that come back: max_restarts and max_task_retries."""

import os
import signal

import pytest
from harness.waiting import until

pytestmark = [pytest.mark.cluster(num_cpus=4), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def phoenix_class(ray):
    @ray.remote(num_cpus=0)
    class Phoenix:
        def __init__(self, path=None):
            self.count = 0
            if path is not None:
                with open(path, "a") as file:
                    file.write("made\n")

        def up(self):
            self.count += 1
            return self.count

        def process(self):
            return os.getpid()

        def was_restarted(self):
            return ray.get_runtime_context().was_current_actor_reconstructed

        def exit_process(self, path=None):
            if path is not None:
                with open(path, "a") as file:
                    file.write("called\n")
            os._exit(3)

        def exit_once(self, path):
            if not os.path.exists(path):
                open(path, "w").close()
                os._exit(3)
            return "survived"

        def exit_actor(self):
            ray.actor.exit_actor()

    return Phoenix


def lines(path):
    return len(path.read_text().splitlines())


def until_restarted(ray, actor, old_process):
    """Wait until the actor answers from another process, and return that process."""

    def answer():
        try:
            process = ray.get(actor.process.remote(), timeout=30)
        except ray.exceptions.ActorUnavailableError:
            return None
        return process if process != old_process else None

    return until(answer, "the actor is there again")


def test_no_restart_by_default(ray, phoenix_class, get, tmp_path):
    made = tmp_path / "made"
    actor = phoenix_class.remote(made)
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(actor.exit_process.remote())
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(actor.up.remote())
    assert lines(made) == 1


def test_restarts_with_a_fresh_state(ray, phoenix_class, get):
    actor = phoenix_class.options(max_restarts=1).remote()
    assert get([actor.up.remote(), actor.up.remote()]) == [1, 2]
    assert get(actor.was_restarted.remote()) is False
    old = get(actor.process.remote())
    os.kill(old, signal.SIGKILL)
    until_restarted(ray, actor, old)
    assert get(actor.up.remote()) == 1
    assert get(actor.was_restarted.remote()) is True


def test_constructor_runs_again_with_its_arguments(ray, phoenix_class, get, tmp_path):
    made = tmp_path / "made"
    actor = phoenix_class.options(max_restarts=1).remote(made)
    old = get(actor.process.remote())
    os.kill(old, signal.SIGKILL)
    until_restarted(ray, actor, old)
    assert lines(made) == 2


def test_restarts_are_counted(ray, phoenix_class, get, tmp_path):
    made = tmp_path / "made"
    actor = phoenix_class.options(max_restarts=2).remote(made)
    process = None
    for _ in range(2):
        process = until_restarted(ray, actor, process)
        os.kill(process, signal.SIGKILL)
    process = until_restarted(ray, actor, process)
    os.kill(process, signal.SIGKILL)

    def is_dead():
        try:
            ray.get(actor.up.remote(), timeout=30)
        except ray.exceptions.ActorDiedError:
            return True
        except ray.exceptions.ActorUnavailableError:
            pass
        return False

    until(is_dead, "the actor is dead for good")
    assert lines(made) == 3


def test_call_in_flight_without_retries(ray, phoenix_class, get, tmp_path):
    called = tmp_path / "called"
    actor = phoenix_class.options(max_restarts=1).remote()
    with pytest.raises(ray.exceptions.ActorUnavailableError) as caught:
        get(actor.exit_process.remote(called))
    assert isinstance(caught.value, ray.exceptions.RayActorError)
    assert caught.value.actor_id == actor._actor_id.hex()
    assert lines(called) == 1


def test_call_in_flight_is_tried_again(phoenix_class, get, tmp_path):
    actor = phoenix_class.options(max_restarts=1, max_task_retries=1).remote()
    assert get(actor.exit_once.remote(str(tmp_path / "once"))) == "survived"


def test_retries_of_a_call_are_counted(ray, phoenix_class, get, tmp_path):
    called = tmp_path / "called"
    actor = phoenix_class.options(max_restarts=-1, max_task_retries=2).remote()
    with pytest.raises(ray.exceptions.RayActorError):
        get(actor.exit_process.remote(called))
    assert lines(called) == 3


def test_retries_end_when_the_restarts_do(ray, phoenix_class, get, tmp_path):
    called = tmp_path / "called"
    actor = phoenix_class.options(max_restarts=1, max_task_retries=-1).remote()
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(actor.exit_process.remote(called))
    assert lines(called) == 2


def test_calls_behind_the_crash_reach_the_next_incarnation(phoenix_class, get, tmp_path):
    actor = phoenix_class.options(max_restarts=1, max_task_retries=-1).remote()
    crash = actor.exit_once.remote(str(tmp_path / "once"))
    behind = [actor.up.remote() for _ in range(5)]
    assert get(crash) == "survived"
    assert sorted(get(behind)) == [1, 2, 3, 4, 5]


def test_kill_does_not_restart(ray, phoenix_class, get):
    actor = phoenix_class.options(max_restarts=-1).remote()
    get(actor.up.remote())
    ray.kill(actor)
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(actor.up.remote())


def test_kill_with_restart(ray, phoenix_class, get):
    actor = phoenix_class.options(max_restarts=1).remote()
    old = get(actor.process.remote())
    ray.kill(actor, no_restart=False)
    until_restarted(ray, actor, old)
    assert get(actor.was_restarted.remote()) is True


def test_exit_actor_does_not_restart(ray, phoenix_class, get):
    actor = phoenix_class.options(max_restarts=-1).remote()
    for reference in (actor.exit_actor.remote(), actor.up.remote()):
        with pytest.raises(ray.exceptions.ActorDiedError):
            get(reference)


def test_error_of_the_constructor_does_not_restart(ray, get, tmp_path):
    made = tmp_path / "made"

    @ray.remote(max_restarts=3)
    class Broken:
        def __init__(self):
            with open(made, "a") as file:
                file.write("made\n")
            raise ValueError("always broken")

        def hello(self):
            return "hello"

    with pytest.raises(ray.exceptions.ActorDiedError, match="always broken"):
        get(Broken.remote().hello.remote())
    assert lines(made) == 1


def test_named_actor_keeps_its_name(ray, phoenix_class, get):
    actor = phoenix_class.options(name="named phoenix", max_restarts=1).remote()
    old = get(actor.process.remote())
    os.kill(old, signal.SIGKILL)
    until_restarted(ray, actor, old)
    assert ray.get_actor("named phoenix") == actor
    assert get(ray.get_actor("named phoenix").was_restarted.remote()) is True


def test_errors_are_tried_again_when_asked_for(ray, get):
    @ray.remote(max_task_retries=2)
    class Flaky:
        def __init__(self):
            self.calls = 0

        @ray.method(retry_exceptions=True)
        def third_time(self):
            self.calls += 1
            if self.calls < 3:
                raise ValueError("not yet")
            return self.calls

        @ray.method(retry_exceptions=[KeyError])
        def wrong_kind(self):
            self.calls += 1
            raise ValueError(f"call {self.calls}")

    assert get(Flaky.remote().third_time.remote()) == 3
    with pytest.raises(ValueError, match="call 1"):
        get(Flaky.remote().wrong_kind.remote())


@pytest.mark.parametrize("option", ["max_restarts", "max_task_retries"])
def test_bad_values(phoenix_class, option):
    with pytest.raises(ValueError, match=f"The keyword '{option}' only accepts"):
        phoenix_class.options(**{option: -2})
    with pytest.raises(TypeError):
        phoenix_class.options(**{option: "1"})


@pytest.mark.whipray_only
def test_message_tells_the_restarts_used(ray, phoenix_class, get):
    actor = phoenix_class.options(max_restarts=1, max_task_retries=-1).remote()
    with pytest.raises(ray.exceptions.ActorDiedError, match=r"(?i)\b1\b.*restart|restart.*\b1\b"):
        get(actor.exit_process.remote())
