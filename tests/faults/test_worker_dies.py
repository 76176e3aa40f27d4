"""Workers that are killed: the work is tried again, or whoever waits is told why."""

import os
import signal

import pytest
from harness.waiting import until

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


@pytest.fixture
def announced(tmp_path):
    """`announced()` waits for the process id that a task wrote into `announced.path`."""

    class Announced:
        path = tmp_path / "process"

        def __call__(self):
            text = until(
                lambda: self.path.exists() and self.path.read_text().strip(), "the task runs"
            )
            return int(text)

    return Announced()


@pytest.fixture
def endless(ray, announced):
    @ray.remote
    def endless(path=announced.path):
        import time

        path.write_text(f"{os.getpid()}\n")
        while True:
            time.sleep(0.02)

    return endless


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_error_names_the_signal(ray, endless, announced, get, number):
    reference = endless.options(max_retries=0).remote()
    os.kill(announced(), number)
    with pytest.raises(ray.exceptions.WorkerCrashedError, match=f"{number.name}|signal {number}"):
        get(reference)


def test_task_is_tried_again(ray, announced, get):
    @ray.remote(max_retries=1)
    def second_time(path=announced.path):
        import time

        if path.exists():
            return "survived"
        path.write_text(f"{os.getpid()}\n")
        while True:
            time.sleep(0.02)

    reference = second_time.remote()
    os.kill(announced(), signal.SIGKILL)
    assert get(reference) == "survived"


def test_idle_worker(ray, get):
    process = get(ray.remote(lambda: os.getpid()).remote())
    os.kill(process, signal.SIGKILL)
    assert get([ray.remote(lambda n=n: n).remote() for n in range(20)]) == list(range(20))


def test_many_workers_under_load(ray, get):
    """Every task ends exactly once, however often its worker is killed."""

    @ray.remote(max_retries=-1)
    def work(number):
        import time

        time.sleep(0.01)
        return number, os.getpid()

    references = [work.remote(number) for number in range(200)]
    killed = set()
    pending = references
    while pending and len(killed) < 5:
        ready, pending = ray.wait(pending, timeout=60)
        _, process = get(ready[0])
        if process not in killed:
            killed.add(process)
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
    assert [number for number, _ in get(references)] == list(range(200))


def test_pipelined_tasks_behind_the_crash(ray, get, tmp_path):
    """A crash takes only the attempt that ran; those queued behind it run elsewhere."""
    ran = tmp_path / "ran"

    @ray.remote(max_retries=0)
    def crash():
        os._exit(1)

    @ray.remote(max_retries=0)
    def note(number):
        with open(ran, "a") as file:
            file.write(f"{number}\n")
        return number

    crashed = [crash.remote() for _ in range(2)]
    noted = [note.remote(number) for number in range(30)]
    for reference in crashed:
        with pytest.raises(ray.exceptions.WorkerCrashedError):
            get(reference)
    assert get(noted) == list(range(30))
    assert sorted(map(int, ran.read_text().split())) == list(range(30))


def test_stopped_worker_that_is_killed(ray, endless, announced, get):
    reference = endless.options(max_retries=0).remote()
    process = announced()
    os.kill(process, signal.SIGSTOP)
    os.kill(process, signal.SIGKILL)
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        get(reference)


def test_resources_come_back(ray, endless, announced, get):
    reference = endless.options(num_cpus=2, max_retries=0).remote()
    os.kill(announced(), signal.SIGKILL)
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        get(reference)
    until(lambda: ray.available_resources().get("CPU") == 2, "both CPUs are free again")
    assert get(ray.remote(num_cpus=2)(lambda: "runs").remote()) == "runs"


def test_owner_dies(ray, get, tmp_path):
    """An object whose owner was killed is lost, and whoever waits for it hears so."""
    gate = tmp_path / "gate"

    @ray.remote(num_cpus=0)
    class Owner:
        def process(self):
            return os.getpid()

        def make(self):
            @ray.remote(num_cpus=0.1)
            def wait_for_gate():
                import time

                while not gate.exists():
                    time.sleep(0.01)

            return [wait_for_gate.remote()]

    owner = Owner.remote()
    process = get(owner.process.remote())
    (inner,) = get(owner.make.remote())
    os.kill(process, signal.SIGKILL)
    with pytest.raises(ray.exceptions.RayError) as caught:
        get(inner)
    assert not isinstance(caught.value, ray.exceptions.GetTimeoutError)
    gate.touch()


def test_memory_of_a_killed_worker_comes_back(ray, get, announced):
    """The pages that a dead client had reserved in the arena are usable again."""

    @ray.remote(max_retries=0)
    def hoard(path=announced.path):
        import time

        held = [ray.put(bytes(5_000_000)) for _ in range(4)]
        path.write_text(f"{os.getpid()}\n")
        while held:
            time.sleep(0.02)

    before = ray.available_resources().get("object_store_memory")
    reference = hoard.remote()
    os.kill(announced(), signal.SIGKILL)
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        get(reference)
    until(
        lambda: ray.available_resources().get("object_store_memory") == before,
        "the memory of the killed worker is free again",
    )
