"""Identifiers, languages, and the names of processes and machines that a program can print."""

import pickle
import re

import pytest

SIZES = {
    "ActorClassID": 28,
    "ActorID": 16,
    "ClusterID": 28,
    "FunctionID": 28,
    "JobID": 4,
    "NodeID": 28,
    "PlacementGroupID": 18,
    "TaskID": 24,
    "UniqueID": 28,
    "WorkerID": 28,
}


@pytest.fixture(params=SIZES)
def kind(ray, request):
    return getattr(ray, request.param)


def test_size_and_text(kind):
    size = SIZES[kind.__name__]
    assert kind.size() == size
    made = kind(bytes(range(size)))
    assert made.binary() == bytes(range(size))
    assert made.hex() == bytes(range(size)).hex()
    assert repr(made) == f"{kind.__name__}({made.hex()})"
    assert not made.is_nil()


def test_nil(kind):
    assert kind.nil().is_nil()
    assert kind.nil() == kind.nil()
    assert kind.nil().hex() == "ff" * kind.size()


def test_equality_hash_and_pickle(kind):
    first, second = kind(bytes(kind.size())), kind(bytes(kind.size()))
    assert first == second
    assert hash(first) == hash(second)
    assert first != kind.nil()
    assert first != first.hex()
    assert pickle.loads(pickle.dumps(first)) == first
    with pytest.raises(TypeError):
        first < second  # noqa: B015


def test_made_of_bytes(kind):
    data = bytes(kind.size())
    assert kind.from_binary(data) == kind(data)
    with pytest.raises(TypeError, match="Unsupported type: <class 'str'>, expected bytes"):
        kind("x" * kind.size())
    with pytest.raises(ValueError, match=f"needs to have length {kind.size()}"):
        kind(b"x")


def test_made_of_hexadecimal_text(ray, kind):
    if kind is not ray.UniqueID:  # Ray's leaves that to those that derive from it.
        assert kind.from_hex("00" * kind.size()) == kind(bytes(kind.size()))


def test_numbers_of_jobs(ray):
    assert ray.JobID.from_int(5).int() == 5
    assert ray.JobID.from_int(1).hex() == "01000000"


def test_reference(ray):
    reference = ray.ObjectRef(bytes(28))
    assert repr(reference) == f"ObjectRef({'00' * 28})"
    assert type(reference).__name__ == "ObjectRef"
    with pytest.raises(TypeError, match="Unsupported type: <class 'str'>, expected bytes"):
        ray.ObjectRef("x" * 28)
    with pytest.raises(TypeError, match=r"'\w*ray.ObjectRef' object is not iterable"):
        list(reference)


def test_language(ray):
    assert repr(ray.Language.PYTHON) == str(ray.Language.PYTHON) == "PYTHON"
    assert ray.Language.PYTHON == ray.Language.PYTHON


@pytest.mark.cluster(num_cpus=1)
def test_functions_and_actors(ray, cluster):
    @ray.remote
    def function():
        pass

    @ray.remote(num_cpus=0)
    class Actor:
        def method(self):
            pass

    assert re.fullmatch(
        r"<\w+\.remote_function\.RemoteFunction object at 0x[0-9a-f]+>", repr(function)
    )
    assert re.fullmatch(r"<.*\.ActorClass\(Actor\) object at 0x[0-9a-f]+>", repr(Actor))
    actor = Actor.remote()
    assert re.fullmatch(r"Actor\((.*\.)?Actor, [0-9a-f]{32}\)", repr(actor))
    assert str(actor) == repr(actor)
    assert actor._actor_id.hex() in repr(actor)
    assert re.fullmatch(r"<\w+\.actor\.ActorMethod object at 0x[0-9a-f]+>", repr(actor.method))
    assert isinstance(actor, ray.actor.ActorHandle)
    assert isinstance(Actor, ray.actor.ActorClass)
    assert isinstance(actor.method, ray.actor.ActorMethod)
    assert isinstance(function, ray.remote_function.RemoteFunction)


def test_accelerators(ray):
    from importlib import import_module

    accelerators = import_module(f"{ray.__name__}.util.accelerators")
    assert accelerators.NVIDIA_TESLA_V100 == "V100"
    assert accelerators.NVIDIA_H100 == "H100"
    assert accelerators.GOOGLE_TPU_V4 == "TPU-V4"
