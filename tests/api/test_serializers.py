"""Serializers of the user's own, reducers, and why something cannot be pickled."""

import io
import threading

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=1), pytest.mark.usefixtures("cluster")]


class Locked:
    """Cannot be pickled as it is."""

    def __init__(self, value):
        self.value = value
        self.lock = threading.Lock()


@pytest.fixture
def registered(ray):
    ray.util.register_serializer(
        Locked, serializer=lambda it: it.value, deserializer=lambda value: ["made of", value]
    )
    yield
    ray.util.deregister_serializer(Locked)


def test_registered_serializer(ray, get, registered):
    assert get(ray.put(Locked(1))) == ["made of", 1]
    assert get(ray.put({"inside": [Locked(2)]})) == {"inside": [["made of", 2]]}
    assert get(ray.remote(lambda value: value).remote(Locked(3))) == ["made of", 3]


def test_deregistered_serializer(ray):
    ray.util.register_serializer(Locked, serializer=lambda it: 1, deserializer=lambda it: it)
    ray.util.deregister_serializer(Locked)
    ray.util.deregister_serializer(Locked)
    with pytest.raises(TypeError, match="Could not serialize the put value"):
        ray.put(Locked(1))


def test_arguments_are_keywords(ray):
    with pytest.raises(TypeError):
        ray.util.register_serializer(Locked, lambda it: it, lambda it: it)


def test_reducer_of_a_class(ray, get):
    class Reduced:
        def __init__(self, value):
            self.value = value
            self.lock = threading.Lock()

        def __reduce__(self):
            return Reduced, (self.value + 1,)

    assert get(ray.put(Reduced(1))).value == 2
    assert get(ray.remote(lambda reduced: reduced.value).remote(Reduced(5))) == 6


def test_nothing_in_the_way(ray):
    said = io.StringIO()
    assert ray.util.inspect_serializability([1], name="list", print_file=said) == (True, set())
    assert "Checking Serializability of [1]" in said.getvalue()


def test_culprit_of_a_function(ray):
    lock = threading.Lock()

    def uses():
        return lock

    said = io.StringIO()
    fits, failures = ray.util.inspect_serializability(uses, name="uses", print_file=said)
    assert not fits
    (failure,) = failures
    assert failure.obj is lock
    assert failure.parent is uses
    assert repr(failure).startswith("FailTuple(lock [path=uses -> lock, obj=")
    told = said.getvalue()
    assert "Checking Serializability of <function" in told
    assert "FAIL" in told
    assert "cannot pickle '_thread.lock' object" in told
    assert "Serializing 'lock'" in told
    assert "was found to be non-serializable" in told


def test_culprit_of_an_object(ray):
    said = io.StringIO()
    value = Locked("x")
    fits, failures = ray.util.inspect_serializability(value, name="value", print_file=said)
    assert not fits
    assert {failure.obj for failure in failures} == {value.lock}
    assert "path=value -> lock" in repr(failures)


def test_the_whole_alone(ray):
    value = Locked("x")
    fits, failures = ray.util.inspect_serializability(
        value, name="value", depth=0, print_file=io.StringIO()
    )
    assert not fits
    assert [failure.obj for failure in failures] == [value]


def test_printed_to_the_standard_output(ray, capsys):
    ray.util.inspect_serializability(threading.Lock(), name="lock")
    assert "non-serializable" in capsys.readouterr().out


def test_cloudpickle(ray):
    assert ray.cloudpickle.loads(ray.cloudpickle.dumps(lambda: 5))() == 5
    with pytest.raises(TypeError):
        ray.cloudpickle.dumps_debug(threading.Lock())


@pytest.mark.whipray_only
def test_bytearray_stays_one(ray, get):
    for value in (bytearray(b"small"), bytearray(300_000)):
        assert get(ray.put(value)) == value
        assert type(get(ray.put(value))) is bytearray
        assert type(get(ray.remote(lambda it: it).remote(value))) is bytearray
