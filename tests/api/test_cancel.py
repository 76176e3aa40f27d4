"""cancel(): queued, running and finished tasks."""

import time

import pytest
from harness.waiting import until

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def endless(ray):
    @ray.remote
    def endless(path):
        """Runs until it is interrupted, and leaves a note when that happens."""
        path.touch()
        try:
            while True:
                time.sleep(0.02)
        except KeyboardInterrupt:
            path.with_suffix(".interrupted").touch()
            raise

    return endless


@pytest.fixture
def note(tmp_path):
    return tmp_path / "started"


def interrupted(note):
    return note.with_suffix(".interrupted").exists()


def test_queued_task(ray, get):
    reference = ray.remote(resources={"unobtainable": 1})(lambda: 1).remote()
    assert ray.cancel(reference) is None
    with pytest.raises(ray.exceptions.TaskCancelledError) as caught:
        get(reference)
    assert isinstance(caught.value, ray.exceptions.RayError)


def test_task_that_waits_for_an_argument(ray, get, tmp_path):
    gate, ran = tmp_path / "gate", tmp_path / "ran"

    @ray.remote
    def wait_for_gate():
        while not gate.exists():
            time.sleep(0.01)

    @ray.remote
    def use(value):
        ran.touch()

    blocker = wait_for_gate.remote()
    waiting = use.remote(blocker)
    ray.cancel(waiting)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        get(waiting)
    gate.touch()
    get(blocker)
    get(ray.remote(num_cpus=2)(lambda: None).remote())
    assert not ran.exists()


def test_queued_behind_a_busy_machine(ray, endless, get, tmp_path):
    notes = [tmp_path / str(number) for number in range(4)]
    running = [endless.remote(note) for note in notes[:2]]
    until(lambda: notes[0].exists() and notes[1].exists(), "both CPUs are busy")
    queued = [endless.remote(note) for note in notes[2:]]
    for reference in queued:
        ray.cancel(reference)
        with pytest.raises(ray.exceptions.TaskCancelledError):
            get(reference)
    assert not notes[2].exists() and not notes[3].exists()
    for reference in running:
        ray.cancel(reference)
        with pytest.raises(ray.exceptions.TaskCancelledError):
            get(reference)


def test_running_task_gets_a_keyboard_interrupt(ray, endless, get, note):
    reference = endless.remote(note)
    until(note.exists, "the task runs")
    ray.cancel(reference)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        get(reference)
    until(lambda: interrupted(note), "the task was interrupted")


def test_interrupt_that_is_swallowed(ray, get, note):
    @ray.remote
    def stubborn():
        note.touch()
        try:
            while True:
                time.sleep(0.02)
        except KeyboardInterrupt:
            return "not me"

    reference = stubborn.remote()
    until(note.exists, "the task runs")
    ray.cancel(reference)
    assert get(reference) == "not me"


def test_worker_goes_on_after_a_cancel(ray, endless, get, tmp_path):
    for number in range(3):
        note = tmp_path / str(number)
        reference = endless.remote(note)
        until(note.exists, "the task runs")
        ray.cancel(reference)
        with pytest.raises(ray.exceptions.TaskCancelledError):
            get(reference)
    assert get([ray.remote(lambda n=n: n).remote() for n in range(10)]) == list(range(10))


def test_force_ends_the_process(ray, endless, get, note):
    reference = endless.remote(note)
    until(note.exists, "the task runs")
    ray.cancel(reference, force=True)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        get(reference)
    assert not interrupted(note)


def test_force_is_not_tried_again(ray, get, tmp_path):
    attempts = tmp_path / "attempts"

    @ray.remote(max_retries=3)
    def endless():
        with open(attempts, "a") as file:
            file.write("x\n")
        while True:
            time.sleep(0.02)

    reference = endless.remote()
    until(lambda: attempts.exists() and attempts.read_text(), "the task runs")
    ray.cancel(reference, force=True)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        get(reference)
    get([ray.remote(lambda: None).remote() for _ in range(4)])
    assert attempts.read_text() == "x\n"


def test_children_are_cancelled_too(ray, endless, get, note):
    @ray.remote
    def parent():
        return ray.get(endless.remote(note))

    reference = parent.remote()
    until(note.exists, "the child runs")
    ray.cancel(reference)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        get(reference)
    until(lambda: interrupted(note), "the child was interrupted")


def test_children_stay_when_not_recursive(ray, get, tmp_path):
    gate, started, done = tmp_path / "gate", tmp_path / "started", tmp_path / "done"

    @ray.remote
    def child():
        started.touch()
        while not gate.exists():
            time.sleep(0.02)
        done.touch()

    @ray.remote
    def parent():
        reference = child.remote()
        while True:
            ray.wait([reference], timeout=0.02)

    reference = parent.remote()
    until(started.exists, "the child runs")
    ray.cancel(reference, recursive=False)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        get(reference)
    gate.touch()
    until(done.exists, "the child finishes")


def test_finished_task(ray, get):
    reference = ray.remote(lambda: "done").remote()
    get(reference)
    ray.cancel(reference)
    assert get(reference) == "done"


def test_twice(ray, get):
    reference = ray.remote(resources={"unobtainable": 1})(lambda: 1).remote()
    ray.cancel(reference)
    ray.cancel(reference)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        get(reference)


def test_object_that_was_put(ray, get):
    reference = ray.put(1)
    ray.cancel(reference)
    assert get(reference) == 1


def test_dependent_task(ray, get):
    @ray.remote
    def use(value):
        return value

    cancelled = ray.remote(resources={"unobtainable": 1})(lambda: 1).remote()
    dependent = use.remote(cancelled)
    ray.cancel(cancelled)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        get(dependent)


@pytest.mark.parametrize("wrong", [3, None, "text"])
def test_needs_a_reference(ray, wrong):
    with pytest.raises(TypeError, match=r"ray\.cancel\(\) only supported for object refs"):
        ray.cancel(wrong)


def test_actor_handle_is_refused(ray):
    @ray.remote
    class Actor:
        pass

    with pytest.raises(TypeError, match=r"For actors, try ray\.kill"):
        ray.cancel(Actor.remote())


def test_force_is_refused_for_calls_of_actors(ray, get):
    @ray.remote
    class Actor:
        def hello(self):
            return "hello"

    actor = Actor.remote()
    get(actor.hello.remote())
    with pytest.raises(ValueError, match="force=True is not supported for actor tasks"):
        ray.cancel(actor.hello.remote(), force=True)


@pytest.mark.whipray_only  # On Ray the calls behind the cancelled one fail after 30 s.
def test_calls_behind_a_cancelled_one(ray, get, tmp_path):
    gate, started = tmp_path / "gate", tmp_path / "started"

    @ray.remote
    class Actor:
        def __init__(self):
            self.ran = []

        def wait(self):
            started.touch()
            while not gate.exists():
                time.sleep(0.01)

        def run(self, number):
            self.ran.append(number)
            return list(self.ran)

    actor = Actor.remote()
    waiting = actor.wait.remote()
    until(started.exists, "the first call runs")
    cancelled, kept = actor.run.remote(1), actor.run.remote(2)
    ray.cancel(cancelled)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        get(cancelled)
    gate.touch()
    get(waiting)
    assert get(kept) == [2]


@pytest.mark.whipray_only
def test_task_inside_one_long_sleep(ray, get, note):
    @ray.remote
    def sleeper():
        note.touch()
        time.sleep(3600)

    reference = sleeper.remote()
    until(note.exists, "the task runs")
    ray.cancel(reference)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        get(reference)


def stopped(ray, error):
    """Whether the error is that of a task which was interrupted while it ran."""
    exceptions = ray.exceptions
    return isinstance(error, exceptions.TaskCancelledError) and isinstance(
        error, exceptions.RayTaskError
    )


def test_error_of_a_task_that_had_not_started(ray, get):
    reference = ray.remote(resources={"unobtainable": 1})(lambda: 1).remote()
    ray.cancel(reference)
    with pytest.raises(ray.exceptions.TaskCancelledError) as caught:
        get(reference)
    assert type(caught.value) is ray.exceptions.TaskCancelledError
    assert caught.value.task_id is None and caught.value.args == ()


def test_error_of_a_running_task_has_its_traceback(ray, endless, get, note):
    reference = endless.remote(note)
    until(note.exists, "the task runs")
    ray.cancel(reference)
    with pytest.raises(ray.exceptions.TaskCancelledError) as caught:
        get(reference)
    error = caught.value
    assert stopped(ray, error)
    assert type(error).__name__ == "RayTaskError(TaskCancelledError)"
    assert error.cause.task_id == reference.task_id() == error.task_id
    assert "endless" in str(error) and "was cancelled" in str(error)


def test_task_blocked_in_get(ray, endless, get, note):
    @ray.remote
    def parent():
        return ray.get(endless.remote(note))

    reference = parent.remote()
    until(note.exists, "the child runs")
    ray.cancel(reference)
    with pytest.raises(ray.exceptions.TaskCancelledError) as caught:
        get(reference)
    assert stopped(ray, caught.value)


def test_error_of_a_forced_cancel(ray, endless, get, note):
    reference = endless.remote(note)
    until(note.exists, "the task runs")
    ray.cancel(reference, force=True)
    with pytest.raises(ray.exceptions.TaskCancelledError) as caught:
        get(reference)
    assert type(caught.value) is ray.exceptions.TaskCancelledError


def test_another_error_raised_on_the_way_out(ray, get, note):
    @ray.remote
    def changes_its_mind():
        note.touch()
        try:
            while True:
                time.sleep(0.02)
        except KeyboardInterrupt:
            raise ValueError("instead") from None

    reference = changes_its_mind.remote()
    until(note.exists, "the task runs")
    ray.cancel(reference)
    with pytest.raises(ValueError, match="instead"):
        get(reference)


def test_cancelled_task_is_not_tried_again(ray, get, tmp_path):
    attempts = tmp_path / "attempts"

    @ray.remote(max_retries=3, retry_exceptions=True)
    def endless():
        with open(attempts, "a") as file:
            file.write("x\n")
        while True:
            time.sleep(0.02)

    reference = endless.remote()
    until(attempts.exists, "the task runs")
    ray.cancel(reference)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        get(reference)
    get([ray.remote(lambda: None).remote() for _ in range(4)])
    assert attempts.read_text() == "x\n"


def test_task_of_another_owner(ray, endless, get, note):
    @ray.remote
    def start():
        return [endless.remote(note)]

    [reference] = get(start.remote())
    until(note.exists, "the task runs")
    assert ray.cancel(reference) is None
    with pytest.raises(ray.exceptions.TaskCancelledError) as caught:
        get(reference)
    assert stopped(ray, caught.value)


def test_grandchildren_in_the_queue(ray, get, tmp_path):
    started, ran = tmp_path / "started", tmp_path / "ran"

    @ray.remote(resources={"unobtainable": 1})
    def never():
        ran.touch()

    @ray.remote(num_cpus=0)
    def child():
        reference = never.remote()
        started.touch()
        return ray.get(reference)

    @ray.remote(num_cpus=0)
    def parent():
        return ray.get(child.remote())

    reference = parent.remote()
    until(started.exists, "the grandchild is queued")
    ray.cancel(reference)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        get(reference)
    assert not ran.exists()


@pytest.fixture
def method(ray, tmp_path):
    """An actor's method that runs until the gate is there, with the note that it has begun."""
    gate, started = tmp_path / "gate", tmp_path / "started"

    class Actor:
        def run(self):
            started.touch()
            while not (gate.exists() and ray.get_runtime_context().is_canceled()):
                time.sleep(0.01)
            return "finished"

        def hello(self):
            return "hello"

    return Actor, gate, started


@pytest.mark.parametrize("threads", [1, 2])
def test_running_method_counts_as_cancelled_once_it_returns(ray, get, method, threads):
    actor_class, gate, started = method
    actor = ray.remote(actor_class).options(max_concurrency=threads).remote()
    reference = actor.run.remote()
    until(started.exists, "the method runs")
    ray.cancel(reference)
    gate.touch()
    with pytest.raises(ray.exceptions.TaskCancelledError, match="was cancelled") as caught:
        get(reference)
    assert type(caught.value) is ray.exceptions.TaskCancelledError
    assert get(actor.hello.remote()) == "hello"


def test_method_sees_that_it_is_cancelled(ray, get, note):
    @ray.remote
    class Actor:
        def run(self):
            note.touch()
            while not ray.get_runtime_context().is_canceled():
                time.sleep(0.01)
            note.with_suffix(".seen").touch()

    actor = Actor.remote()
    reference = actor.run.remote()
    until(note.exists, "the method runs")
    ray.cancel(reference)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        get(reference)
    assert note.with_suffix(".seen").exists()


@pytest.mark.parametrize("swallows", [False, True])
def test_running_coroutine(ray, get, note, swallows):
    @ray.remote
    class Actor:
        async def run(self):
            import asyncio

            note.touch()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                note.with_suffix(".interrupted").touch()
                if not swallows:
                    raise
            return "not me"

        async def hello(self):
            return "hello"

    actor = Actor.remote()
    reference = actor.run.remote()
    until(note.exists, "the coroutine runs")
    ray.cancel(reference)
    with pytest.raises(ray.exceptions.TaskCancelledError) as caught:
        get(reference)
    assert stopped(ray, caught.value)
    assert interrupted(note)
    assert get(actor.hello.remote()) == "hello"


def test_children_of_a_coroutine(ray, endless, get, note):
    @ray.remote
    class Actor:
        async def run(self):
            await endless.remote(note)

    actor = Actor.remote()
    reference = actor.run.remote()
    until(note.exists, "the child runs")
    ray.cancel(reference)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        get(reference)
    until(lambda: interrupted(note), "the child was interrupted")


@pytest.mark.whipray_only
def test_outcome_can_be_asked_for(ray, endless, get, tmp_path):
    from whipray import _core

    def cancelled(reference, **options):
        ray.cancel(reference, **options)
        with pytest.raises(ray.exceptions.TaskCancelledError):
            get(reference)
        return _core.cancellation(reference)

    queued = ray.remote(resources={"unobtainable": 1})(lambda: 1).remote()
    assert _core.cancellation(queued) is None
    assert cancelled(queued) == "not started"
    running = endless.remote(tmp_path / "running")
    until((tmp_path / "running").exists, "the task runs")
    assert cancelled(running) == "stopped"
    killed = endless.remote(tmp_path / "killed")
    until((tmp_path / "killed").exists, "the task runs")
    assert cancelled(killed, force=True) == "killed"
    finished = ray.remote(lambda: 1).remote()
    get(finished)
    ray.cancel(finished)
    assert _core.cancellation(finished) == "too late"
