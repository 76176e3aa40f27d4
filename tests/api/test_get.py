"""get(): one, many, bounds, errors."""

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


@pytest.fixture
def never(ray):
    """A reference whose task waits for resources that do not exist."""
    reference = ray.remote(resources={"unobtainable": 1})(lambda: None).remote()
    yield reference
    ray.cancel(reference)


def test_one_reference(ray):
    assert ray.get(ray.put("one")) == "one"


def test_list_keeps_the_order(ray, get):
    references = [ray.put(number) for number in range(50)]
    assert get(references) == list(range(50))
    assert get(references[::-1]) == list(range(50))[::-1]


def test_empty_list(ray):
    assert ray.get([]) == []


def test_same_reference_twice_in_a_list(ray):
    reference = ray.put([1])
    assert ray.get([reference, reference]) == [[1], [1]]


def test_again_and_again(ray):
    reference = ray.put({"a": 1})
    first, second = ray.get(reference), ray.get(reference)
    first["a"] = 2
    assert second == {"a": 1}
    assert ray.get(reference) == {"a": 1}


def test_puts_and_tasks_together(ray, get):
    @ray.remote
    def number(value):
        return value

    assert get([ray.put(0), number.remote(1), ray.put(2), number.remote(3)]) == [0, 1, 2, 3]


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_timeout(ray, never, timeout):
    with pytest.raises(ray.exceptions.GetTimeoutError, match="Get timed out") as caught:
        ray.get(never, timeout=timeout)
    assert isinstance(caught.value, TimeoutError)


def test_timeout_of_a_list_with_one_pending(ray, never):
    with pytest.raises(ray.exceptions.GetTimeoutError):
        ray.get([ray.put(1), never], timeout=0.05)


def test_timeout_does_not_hurt_a_ready_object(ray):
    reference = ray.put(1)
    assert ray.get(reference, timeout=30) == 1
    assert ray.get(reference, timeout=0) == 1


def test_get_after_timeout_still_works(ray, get, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote
    def wait_for_gate():
        import time

        while not gate.exists():
            time.sleep(0.01)
        return "open"

    reference = wait_for_gate.remote()
    with pytest.raises(ray.exceptions.GetTimeoutError):
        ray.get(reference, timeout=0.05)
    gate.touch()
    assert get(reference) == "open"


def test_timeout_inside_a_task(ray, get):
    @ray.remote
    def impatient():
        pending = ray.remote(resources={"unobtainable": 1})(lambda: None).remote()
        try:
            ray.get(pending, timeout=0.05)
        except ray.exceptions.GetTimeoutError:
            return "gave up"
        finally:
            ray.cancel(pending)

    assert get(impatient.remote()) == "gave up"


@pytest.mark.parametrize("value", [1, None, "text", {}, ()])
def test_refuses_what_is_neither_reference_nor_list(ray, value):
    with pytest.raises(ValueError, match="Invalid type of object refs"):
        ray.get(value)


def test_refuses_a_list_with_something_else(ray):
    with pytest.raises(TypeError, match="Attempting to call `get` on the value 1"):
        ray.get([ray.put(0), 1])


def test_timeout_is_a_keyword(ray):
    with pytest.raises(TypeError):
        ray.get(ray.put(1), 1)


def test_error_of_a_task(ray, get):
    @ray.remote
    def fail():
        raise KeyError("missing")

    with pytest.raises(KeyError, match="missing"):
        get(fail.remote())


def test_error_in_a_list_is_raised(ray, get):
    @ray.remote
    def fail():
        raise ZeroDivisionError("in the middle")

    with pytest.raises(ZeroDivisionError, match="in the middle"):
        get([ray.put(1), fail.remote(), ray.put(2)])


def test_error_in_a_list_does_not_wait_for_the_others(ray, get, never):
    @ray.remote
    def fail():
        raise ZeroDivisionError("before the others")

    with pytest.raises(ZeroDivisionError, match="before the others"):
        get([never, fail.remote()])


def test_error_is_raised_at_every_get(ray, get):
    @ray.remote
    def fail():
        raise LookupError("again")

    reference = fail.remote()
    for _ in range(2):
        with pytest.raises(LookupError, match="again"):
            get(reference)


def test_many_threads_get_at_once(ray, get):
    from concurrent.futures import ThreadPoolExecutor

    @ray.remote
    def echo(value):
        return value

    def round_trip(number):
        return get(echo.remote(number))

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(round_trip, range(100))) == list(range(100))
