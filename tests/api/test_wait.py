"""wait(): what is ready, what is not, and every way to ask wrongly."""

import time

import pytest
from harness.waiting import GENEROUS_SECONDS

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


@pytest.fixture
def gated(ray, tmp_path):
    """`gated(value)` starts a task that returns `value` once `gated.open()` was called."""
    path = tmp_path / "gate"

    @ray.remote(num_cpus=0.1)
    def pass_gate(value):
        while not path.exists():
            time.sleep(0.01)
        return value

    class Gate:
        open = staticmethod(path.touch)
        __call__ = staticmethod(pass_gate.remote)

    yield Gate()
    path.touch()


def test_ready_objects(ray):
    references = [ray.put(number) for number in range(3)]
    ready, pending = ray.wait(references, num_returns=3, timeout=GENEROUS_SECONDS)
    assert ready == references
    assert pending == []


def test_returns_one_by_default(ray):
    references = [ray.put(number) for number in range(3)]
    ready, pending = ray.wait(references)
    assert len(ready) == 1
    assert pending == [reference for reference in references if reference != ready[0]]


def test_no_more_than_asked_for_even_if_more_is_ready(ray):
    references = [ray.put(number) for number in range(5)]
    ready, pending = ray.wait(references, num_returns=2)
    assert len(ready) == 2 and len(pending) == 3


def test_ready_ones_come_out_of_pending_ones(ray, gated):
    first, second = gated(1), gated(2)
    done = ray.put(3)
    ready, pending = ray.wait([first, done, second], timeout=GENEROUS_SECONDS)
    assert ready == [done]
    assert pending == [first, second]


def test_both_lists_keep_the_order_of_the_argument(ray, gated):
    slow = [gated(number) for number in range(2)]
    done = [ray.put(number) for number in range(2)]
    ready, pending = ray.wait([slow[1], done[1], slow[0], done[0]], num_returns=2)
    assert ready == [done[1], done[0]]
    assert pending == [slow[1], slow[0]]


def test_timeout_with_too_few(ray, gated):
    slow, done = gated(1), ray.put(2)
    ready, pending = ray.wait([slow, done], num_returns=2, timeout=0.1)
    assert ready == [done]
    assert pending == [slow]


def test_timeout_of_zero_asks_without_waiting(ray, gated):
    slow = gated(1)
    assert ray.wait([slow], timeout=0) == ([], [slow])


def test_waits_until_enough_are_ready(ray, gated):
    references = [gated(number) for number in range(4)]
    assert ray.wait(references, timeout=0.05)[0] == []
    gated.open()
    ready, pending = ray.wait(references, num_returns=4, timeout=GENEROUS_SECONDS)
    assert ready == references and pending == []


def test_failed_task_is_ready(ray):
    @ray.remote
    def fail():
        raise ValueError("still ready")

    reference = fail.remote()
    assert ray.wait([reference], timeout=GENEROUS_SECONDS) == ([reference], [])
    with pytest.raises(ValueError):
        ray.get(reference)


@pytest.mark.parametrize("fetch_local", [True, False])
def test_fetch_local(ray, fetch_local):
    references = [ray.put(1), ray.remote(lambda: b"x" * 500_000).remote()]
    ready, pending = ray.wait(
        references, num_returns=2, timeout=GENEROUS_SECONDS, fetch_local=fetch_local
    )
    assert ready == references and pending == []


def test_empty_list(ray):
    assert ray.wait([]) == ([], [])


def test_inside_a_task(ray, get):
    @ray.remote
    def outer():
        references = [ray.remote(lambda n=n: n).remote() for n in range(4)]
        ready, pending = ray.wait(references, num_returns=4, timeout=GENEROUS_SECONDS)
        return len(ready), len(pending)

    assert get(outer.remote()) == (4, 0)


def test_on_references_of_another_owner(ray, get, gated):
    @ray.remote
    def start():
        return [ray.remote(lambda: "inner").remote()]

    (inner,) = get(start.remote())
    assert ray.wait([inner], timeout=GENEROUS_SECONDS) == ([inner], [])


def test_usual_loop_over_finished_tasks(ray):
    @ray.remote
    def number(value):
        return value

    pending = [number.remote(value) for value in range(20)]
    seen = set()
    while pending:
        ready, pending = ray.wait(pending, timeout=GENEROUS_SECONDS)
        assert ready
        seen.update(ray.get(ready))
    assert seen == set(range(20))


def test_single_reference_is_refused(ray):
    with pytest.raises(TypeError, match="got a single ray.ObjectRef"):
        ray.wait(ray.put(1))


@pytest.mark.parametrize("value", [None, (), 1, {}])
def test_what_is_no_list_is_refused(ray, value):
    with pytest.raises(TypeError, match="expected a list of ray.ObjectRef"):
        ray.wait(value)


def test_list_of_something_else_is_refused(ray):
    with pytest.raises(TypeError, match="got list containing <class 'int'>"):
        ray.wait([ray.put(1), 2])


def test_duplicates_are_refused(ray):
    reference = ray.put(1)
    with pytest.raises(ValueError, match="unique"):
        ray.wait([reference, reference])


@pytest.mark.parametrize("number", [0, -1])
def test_number_of_results_must_be_positive(ray, number):
    with pytest.raises(ValueError, match=f"Invalid number of objects to return {number}"):
        ray.wait([ray.put(1)], num_returns=number)


def test_number_of_results_must_not_exceed_the_list(ray):
    with pytest.raises(ValueError, match="num_returns cannot be greater than the number of"):
        ray.wait([ray.put(1)], num_returns=2)


def test_negative_timeout_is_refused(ray):
    with pytest.raises(ValueError, match="'timeout' argument must be nonnegative"):
        ray.wait([ray.put(1)], timeout=-1)


def test_options_are_keywords(ray):
    with pytest.raises(TypeError):
        ray.wait([ray.put(1)], 1)
