"""The order of an actor's calls, where some of them wait for their arguments."""

import asyncio
import time

import pytest
from harness.waiting import GENEROUS_SECONDS

pytestmark = [pytest.mark.cluster(num_cpus=4), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def noting_class(ray):
    @ray.remote(num_cpus=0)
    class Noting:
        def __init__(self):
            self.noted = []

        def note(self, value):
            self.noted.append(value)
            return value

        def all(self):
            return self.noted

    return Noting


@pytest.fixture(scope="module")
def noting_coroutines(ray):
    @ray.remote(num_cpus=0)
    class NotingCoroutines:
        def __init__(self):
            self.noted = []

        async def note(self, value):
            self.noted.append(value)
            await asyncio.sleep(0)
            return value

        async def all(self):
            return self.noted

    return NotingCoroutines


@pytest.fixture
def late(ray, tmp_path):
    """A reference to 0 that is there once `tmp_path / "gate"` is."""

    @ray.remote
    def wait_for_gate(gate):
        while not gate.exists():
            time.sleep(0.01)
        return 0

    return wait_for_gate.remote(tmp_path / "gate")


@pytest.mark.parametrize("options", [{}, {"allow_out_of_order_execution": False}])
def test_calls_keep_their_order(ray, get, noting_class, late, options, tmp_path):
    actor = noting_class.options(**options).remote()
    calls = [actor.note.remote(late), actor.note.remote(1)]
    assert ray.wait([calls[1]], timeout=0.2)[0] == []
    (tmp_path / "gate").touch()
    get(calls)
    assert get(actor.all.remote()) == [0, 1]


@pytest.mark.parametrize(
    "options", [{"allow_out_of_order_execution": True}, {"max_concurrency": 2}]
)
def test_calls_overtake_those_that_wait(ray, get, noting_class, late, options, tmp_path):
    actor = noting_class.options(**options).remote()
    waiting = actor.note.remote(late)
    get([actor.note.remote(value) for value in (1, 2)])
    (tmp_path / "gate").touch()
    get(waiting)
    noted = get(actor.all.remote())
    assert sorted(noted[:2]) == [1, 2]
    assert noted[2] == 0


def test_coroutines_overtake_those_that_wait(get, noting_coroutines, late, tmp_path):
    actor = noting_coroutines.remote()
    waiting = actor.note.remote(late)
    get(actor.note.remote(1))
    (tmp_path / "gate").touch()
    get(waiting)
    assert get(actor.all.remote()) == [1, 0]


def test_a_call_that_waits_is_cancelled(ray, get, noting_class, late, tmp_path):
    actor = noting_class.options(allow_out_of_order_execution=True).remote()
    get(actor.note.remote(1))
    waiting = actor.note.remote(late)
    ray.cancel(waiting)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(waiting, timeout=GENEROUS_SECONDS)
    (tmp_path / "gate").touch()


def test_an_order_that_cannot_be_kept(noting_class, noting_coroutines):
    with pytest.raises(ValueError, match="multi-threaded actors"):
        noting_class.options(max_concurrency=2, allow_out_of_order_execution=False).remote()
    with pytest.raises(ValueError, match="async actors"):
        noting_coroutines.options(allow_out_of_order_execution=False).remote()
