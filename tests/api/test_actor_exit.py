"""Actors that end themselves, or are asked to: what becomes of the calls beside and behind."""

import os
import threading

import pytest
from harness.waiting import GENEROUS_SECONDS, until

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


def is_dead(ray, actor, get):
    try:
        get(actor.__ray_ready__.remote())
    except ray.exceptions.ActorDiedError:
        return True
    return False


def test_in_a_thread_of_the_actors_own(ray, get):
    @ray.remote(num_cpus=0)
    class Actor:
        def exit_elsewhere(self):
            raised = []

            def leave():
                try:
                    ray.actor.exit_actor()
                except BaseException as error:
                    raised.append(type(error).__name__)

            thread = threading.Thread(target=leave)
            thread.start()
            thread.join()
            return raised

    actor = Actor.remote()
    assert get(actor.exit_elsewhere.remote()) == ["SystemExit"]
    until(lambda: is_dead(ray, actor, get), "the actor ends")


def test_calls_beside_are_answered(ray, get):
    @ray.remote(num_cpus=0, max_concurrency=3)
    class Actor:
        def __init__(self):
            self.leaving = threading.Event()

        def beside(self):
            assert self.leaving.wait(GENEROUS_SECONDS)
            threading.Event().wait(0.2)  # The other one leaves meanwhile.
            return "answered"

        def leave(self):
            self.leaving.set()
            ray.actor.exit_actor()

    actor = Actor.remote()
    beside = actor.beside.remote()
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(actor.leave.remote())
    assert get(beside) == "answered"
    until(lambda: is_dead(ray, actor, get), "the actor ends")


def test_coroutines_beside_are_answered(ray, get):
    @ray.remote(num_cpus=0)
    class Actor:
        def __init__(self):
            import asyncio

            self.asyncio = asyncio
            self.leaving = asyncio.Event()

        async def ready(self):
            return True

        async def beside(self):
            await self.leaving.wait()
            for _ in range(20):
                await self.asyncio.sleep(0.01)
            return "answered"

        async def leave(self):
            self.leaving.set()
            ray.actor.exit_actor()

    actor = Actor.remote()
    beside = [actor.beside.remote() for _ in range(3)]
    get(actor.ready.remote())
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(actor.leave.remote())
    assert get(beside) == ["answered"] * 3
    until(lambda: is_dead(ray, actor, get), "the actor ends")


def test_coroutines_beside_a_task_that_leaves_are_answered(ray, get):
    """The process ended at once, since asyncio hands SystemExit of its tasks through its loop."""

    @ray.remote(num_cpus=0)
    class Actor:
        def __init__(self):
            import asyncio

            self.asyncio = asyncio
            self.leaving = asyncio.Event()

        async def ready(self):
            return True

        async def beside(self):
            await self.leaving.wait()
            for _ in range(20):
                await self.asyncio.sleep(0.01)
            return "answered"

        async def leave(self):
            async def leave():
                self.leaving.set()
                ray.actor.exit_actor()

            await self.asyncio.create_task(leave())

    actor = Actor.remote()
    beside = [actor.beside.remote() for _ in range(3)]
    get(actor.ready.remote())
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(actor.leave.remote())
    assert get(beside) == ["answered"] * 3
    until(lambda: is_dead(ray, actor, get), "the actor ends")


def test_a_task_that_outlives_its_call_leaves(ray, get):
    """The actor went on until somebody called it again."""

    @ray.remote(num_cpus=0)
    class Actor:
        async def leave_later(self):
            import asyncio

            async def leave():
                await asyncio.sleep(0.1)
                ray.actor.exit_actor()

            self.leaving = asyncio.create_task(leave())
            return os.getpid()

    actor = Actor.remote()
    process = get(actor.leave_later.remote())
    until(lambda: not os.path.exists(f"/proc/{process}"), "the actor's process ends")


def test_calls_behind_fail(ray, get):
    @ray.remote(num_cpus=0)
    class Actor:
        def leave(self):
            ray.actor.exit_actor()

        def call(self):
            return "called"

    actor = Actor.remote()
    leaving, behind = actor.leave.remote(), actor.call.remote()
    for reference in (leaving, behind):
        with pytest.raises(ray.exceptions.ActorDiedError):
            get(reference)


def test_it_is_not_restarted(ray, get):
    @ray.remote(num_cpus=0, max_restarts=-1)
    class Actor:
        def leave(self):
            ray.actor.exit_actor()

    actor = Actor.remote()
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(actor.leave.remote())
    assert is_dead(ray, actor, get)


def test_terminate_comes_after_the_calls_before_it(ray, get):
    @ray.remote(num_cpus=0)
    class Actor:
        def call(self, number):
            return number

    actor = Actor.remote()
    calls = [actor.call.remote(number) for number in range(20)]
    end = actor.__ray_terminate__.remote()
    assert get(calls) == list(range(20))
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(end)
    assert is_dead(ray, actor, get)


def test_terminate_of_an_asynchronous_actor(ray, get):
    @ray.remote(num_cpus=0)
    class Actor:
        async def call(self):
            return "called"

    actor = Actor.remote()
    assert get(actor.call.remote()) == "called"
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(actor.__ray_terminate__.remote())
    assert is_dead(ray, actor, get)


def test_exit_functions_run(ray, get, tmp_path):
    file = tmp_path / "said"

    @ray.remote(num_cpus=0)
    class Actor:
        def __init__(self, path):
            import atexit

            atexit.register(lambda: open(path, "w").write("goodbye"))

        def leave(self):
            ray.actor.exit_actor()

    actor = Actor.remote(str(file))
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(actor.leave.remote())
    until(lambda: file.exists() and file.read_text() == "goodbye", "the exit function ran")


def test_an_actor_is_asked_to_tidy_up(ray, get, tmp_path):
    """`__del__` was not called, nor functions of `atexit` where `__ray_shutdown__` raised."""
    folder = str(tmp_path)

    @ray.remote(num_cpus=0)
    class Actor:
        def __init__(self):
            import atexit

            atexit.register(self.say, "function")

        def say(self, word):
            with open(f"{folder}/said", "a") as file:
                file.write(word + " ")

        def __ray_shutdown__(self):
            self.say("hook")
            raise ValueError

        def __del__(self):
            self.say("del")

    actor = Actor.remote()
    get(actor.__ray_ready__.remote())
    del actor
    said = tmp_path / "said"
    until(lambda: said.exists() and "del" in said.read_text(), "the actor has tidied up")
    assert said.read_text().split() == ["hook", "function", "del"]


def test_outside_of_actors(ray, get):
    with pytest.raises(TypeError, match="exit_actor API is called on a non-actor worker"):
        ray.actor.exit_actor()

    @ray.remote(max_retries=0)
    def task():
        ray.actor.exit_actor()

    with pytest.raises(TypeError, match="exit_actor API is called on a non-actor worker"):
        get(task.remote())
