"""The module `exceptions`: every class of Ray, with its bases and the way it is made."""

import inspect
import json
import pickle
from pathlib import Path

import pytest

FACTS = json.loads((Path(__file__).parent / "facts" / "exceptions.json").read_text())


def resolve(ray, name):
    """The class that a fact calls `Name` (of the module) or `builtins.Name`."""
    if name.startswith("builtins."):
        return getattr(__import__("builtins"), name.split(".")[1])
    return getattr(ray.exceptions, name)


@pytest.mark.parametrize("name", sorted(FACTS))
def test_class_and_its_bases(ray, name):
    kind = getattr(ray.exceptions, name)
    assert kind.__name__ == name
    assert [base for base in kind.__bases__ if base is not object] == [
        resolve(ray, base) for base in FACTS[name]["bases"]
    ]


@pytest.mark.parametrize("name", sorted(name for name in FACTS if "parameters" in FACTS[name]))
def test_parameters_of_the_constructor(ray, name):
    signature = inspect.signature(getattr(ray.exceptions, name).__init__)
    parameters = [parameter for key, parameter in signature.parameters.items() if key != "self"]
    assert [parameter.name for parameter in parameters] == FACTS[name]["parameters"]
    required = [p.name for p in parameters if p.default is inspect.Parameter.empty]
    assert required == FACTS[name]["parameters"][: len(required)] == FACTS[name]["required"]


def test_every_class_is_a_ray_error(ray):
    for name in FACTS:
        assert issubclass(getattr(ray.exceptions, name), ray.exceptions.RayError)


def test_list_of_exception_types(ray):
    listed = ray.exceptions.RAY_EXCEPTION_TYPES
    assert {ray.exceptions.RayTaskError, ray.exceptions.WorkerCrashedError} <= set(listed)
    assert all(issubclass(kind, ray.exceptions.RayError) for kind in listed)


@pytest.mark.parametrize(
    "make",
    [
        lambda e: e.GetTimeoutError("late"),
        lambda e: e.WorkerCrashedError(),
        lambda e: e.TaskCancelledError(),
        lambda e: e.ActorDiedError(),
        lambda e: e.ActorUnavailableError("away", b"x" * 16),
        lambda e: e.ObjectStoreFullError("full"),
        lambda e: e.ObjectLostError("ab" * 28, None, ""),
        lambda e: e.OwnerDiedError("ab" * 28, None, ""),
        lambda e: e.RaySystemError("broken"),
        lambda e: e.RuntimeEnvSetupError("no environment"),
        lambda e: e.TaskUnschedulableError("nowhere"),
        lambda e: e.OutOfMemoryError("too much"),
        lambda e: e.NodeDiedError("gone"),
    ],
    ids=lambda make: make.__code__.co_names[0],
)
def test_survives_pickling(ray, make):
    error = make(ray.exceptions)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_texts(ray):
    errors = ray.exceptions
    assert str(errors.RaySystemError("broken")) == "System error: broken"
    assert str(errors.GetTimeoutError("late")) == "late"
    assert str(errors.TaskUnschedulableError("nowhere")).endswith("nowhere")
    assert "no environment" in str(errors.RuntimeEnvSetupError("no environment"))
    assert "ab" * 28 in str(errors.ObjectLostError("ab" * 28, None, ""))


def test_timeouts_are_builtin_timeouts(ray):
    with pytest.raises(TimeoutError):
        raise ray.exceptions.GetTimeoutError("late")


def test_error_of_the_actors_constructor_is_kept(ray):
    cause = ray.exceptions.RayTaskError(
        "Actor.__init__", "the traceback", ValueError("why"), pid=1, ip="127.0.0.1", actor_id="ab"
    )
    error = ray.exceptions.ActorDiedError(cause)
    assert error.actor_init_failed is True
    assert "the traceback" in str(error)
    assert error.actor_id == "ab"


def test_task_error_by_hand(ray):
    error = ray.exceptions.RayTaskError("function", "the traceback", KeyError("key"))
    assert error.cause.args == ("key",)
    dual = error.as_instanceof_cause()
    assert isinstance(dual, KeyError) and isinstance(dual, ray.exceptions.RayTaskError)
    assert type(dual).__name__ == "RayTaskError(KeyError)"
    assert "the traceback" in str(dual)
