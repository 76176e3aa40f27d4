"""ObjectRef: identity, text, travelling inside values, await and future()."""

import asyncio
import concurrent.futures
import copy
import pickle
import queue

import pytest
from harness.waiting import GENEROUS_SECONDS

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


def test_hex_and_binary(ray):
    reference = ray.put(1)
    assert len(reference.binary()) == 28 == reference.size()
    assert reference.hex() == reference.binary().hex()
    assert not reference.is_nil()


def test_text(ray):
    reference = ray.put(1)
    assert repr(reference) == f"ObjectRef({reference.hex()})"
    assert str(reference) == repr(reference)


def test_equality_and_hash(ray):
    first, second = ray.put(1), ray.put(1)
    assert first == first and first != second
    assert first == ray.ObjectRef(first.binary())
    assert hash(first) == hash(ray.ObjectRef(first.binary()))
    assert first != 1 and first is not None and not (first == "text")
    assert len({first, second, first}) == 2
    assert {first: "x"}[first] == "x"


def test_has_no_order(ray):
    with pytest.raises(TypeError):
        ray.put(1) < ray.put(2)


def test_results_of_one_task_differ(ray):
    first, second = ray.remote(num_returns=2)(lambda: (1, 2)).remote()
    assert first != second
    assert first.task_id() == second.task_id()


def test_belongs_to_task_and_job(ray):
    reference = ray.put(1)
    assert reference.job_id().hex() == ray.get_runtime_context().get_job_id()
    assert reference.hex().startswith(reference.task_id().hex())


def test_nil(ray):
    assert ray.ObjectRef.nil().is_nil()
    assert len(ray.ObjectRef.nil().binary()) == 28


@pytest.mark.parametrize("identifier", [b"", b"short", b"x" * 29])
def test_identifier_of_wrong_length(ray, identifier):
    with pytest.raises(ValueError):
        ray.ObjectRef(identifier)


def test_inside_values(ray, get):
    @ray.remote
    def unwrap(table):
        return ray.get(table["list"][0]), ray.get(table["tuple"][1])

    first, second = ray.put("first"), ray.put("second")
    assert get(unwrap.remote({"list": [first], "tuple": (0, second)})) == ("first", "second")


def test_inside_an_instance(ray, get):
    class Holder:
        def __init__(self, reference):
            self.reference = reference

    @ray.remote
    def open_holder(holder):
        return ray.get(holder.reference)

    assert get(open_holder.remote(Holder(ray.put("held")))) == "held"


def test_equal_after_a_round_trip(ray, get):
    reference = ray.put(1)
    (back,) = get(ray.remote(lambda items: items).remote([reference]))
    assert back == reference
    assert hash(back) == hash(reference)


def test_pickle_outside_of_the_engine(ray, get):
    reference = ray.put("kept")
    again = pickle.loads(pickle.dumps(reference))
    assert again == reference
    assert get(again) == "kept"


def test_copies(ray, get):
    reference = ray.put("same")
    for twin in (copy.copy(reference), copy.deepcopy(reference)):
        assert twin == reference
        assert get(twin) == "same"


def test_await(ray):
    async def read():
        return await ray.put(1), await ray.remote(lambda: 2).remote()

    assert asyncio.run(asyncio.wait_for(read(), GENEROUS_SECONDS)) == (1, 2)


def test_await_many(ray):
    async def read():
        square = ray.remote(lambda value: value**2)
        return await asyncio.gather(*[square.remote(number) for number in range(20)])

    assert asyncio.run(asyncio.wait_for(read(), GENEROUS_SECONDS)) == [n**2 for n in range(20)]


def test_await_error(ray):
    @ray.remote
    def fail():
        raise KeyError("awaited")

    async def read():
        await fail.remote()

    with pytest.raises(KeyError, match="awaited"):
        asyncio.run(asyncio.wait_for(read(), GENEROUS_SECONDS))


def test_await_leaves_the_loop_free(ray, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote
    def wait_for_gate():
        import time

        while not gate.exists():
            time.sleep(0.01)
        return "opened by the loop"

    async def read():
        async def open_gate():
            gate.touch()

        result, _ = await asyncio.gather(wait_for_gate.remote(), open_gate())
        return result

    assert asyncio.run(asyncio.wait_for(read(), GENEROUS_SECONDS)) == "opened by the loop"


def test_asyncio_wait(ray):
    async def read():
        references = [ray.put(number) for number in range(3)]
        futures = [asyncio.wrap_future(reference.future()) for reference in references]
        done, pending = await asyncio.wait(futures, timeout=GENEROUS_SECONDS)
        return sorted(future.result() for future in done), pending

    assert asyncio.run(read()) == ([0, 1, 2], set())


def test_future(ray):
    future = ray.put(5).future()
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(GENEROUS_SECONDS) == 5


def test_future_of_a_task(ray):
    futures = [ray.remote(lambda n=n: n).remote().future() for n in range(5)]
    done, pending = concurrent.futures.wait(futures, GENEROUS_SECONDS)
    assert not pending
    assert sorted(future.result() for future in done) == list(range(5))


def test_future_with_an_error(ray):
    @ray.remote
    def fail():
        raise ZeroDivisionError("in the future")

    future = fail.remote().future()
    assert isinstance(future.exception(GENEROUS_SECONDS), ZeroDivisionError)


def test_future_keeps_the_object(ray):
    future = ray.remote(lambda: b"x" * 300_000).remote().future()
    assert len(future.result(GENEROUS_SECONDS)) == 300_000


def test_callback_with_the_value(ray):
    def fail():
        raise ZeroDivisionError("in the callback")

    values = queue.SimpleQueue()
    ray.remote(lambda: 5).remote()._on_completed(values.put)
    assert values.get(timeout=GENEROUS_SECONDS) == 5
    ray.remote(fail).remote()._on_completed(values.put)
    assert isinstance(values.get(timeout=GENEROUS_SECONDS), ray.exceptions.RayTaskError)
