"""Values that are the engine's own exceptions, and values that cannot be unpickled."""

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


@pytest.fixture
def actor_class(ray):
    class Actor:
        def __init__(self, value=None):
            self.value = value

        def echo(self, value):
            return value

    return ray.remote(Actor)


@pytest.fixture
def make_unreadable():
    """Makes a value that can be pickled, but not unpickled."""

    def make():
        def fail_to_unpickle():
            raise ZeroDivisionError("nobody can read this")

        class Unreadable:
            def __reduce__(self):
                return fail_to_unpickle, ()

        return Unreadable()

    return make


@pytest.fixture
def unreadable(make_unreadable):
    return make_unreadable()


@pytest.fixture
def caught(ray, get):
    """What a task that raised ValueError gives to whoever waits for it."""

    def fail():
        raise ValueError("first")

    with pytest.raises(ValueError) as found:
        get(ray.remote(fail).remote())
    return found.value


# A failure that a task caught and returned came out of `get` as a value: whoever called it took it
# for a result.
def test_failure_as_a_result_is_raised(ray, get, caught):
    with pytest.raises(ValueError, match="first") as found:
        get(ray.remote(lambda: caught).remote())
    assert isinstance(found.value, ray.exceptions.RayTaskError)


def test_failure_that_was_put_is_raised(ray, get, caught):
    late = ray.exceptions.GetTimeoutError("late")
    for error, kind in ((caught, ValueError), (late, ray.exceptions.GetTimeoutError)):
        with pytest.raises(kind):
            get(ray.put(error))
        with pytest.raises(kind):
            get([ray.put(1), ray.put(error)])


def test_failure_that_is_yielded_is_raised(ray, get, caught):
    def generate():
        yield caught
        yield 2

    first, second = ray.remote(generate).remote()
    with pytest.raises(ValueError, match="first"):
        get(first)
    assert get(second) == 2


def test_failure_as_an_argument_fails_the_call(ray, get, caught, actor_class):
    with pytest.raises(ValueError, match="At least one of the input arguments"):
        get(ray.remote(lambda error: "ran").remote(caught))
    with pytest.raises(ValueError, match="At least one of the input arguments"):
        get(actor_class.remote().echo.remote(caught))


def test_failure_inside_of_a_value_is_a_value(ray, get, caught):
    assert isinstance(get(ray.put([caught]))[0], ValueError)
    assert get(ray.remote(lambda errors: str(errors[0].cause)).remote([caught])) == "first"


def test_other_exceptions_are_values(ray, get):
    assert get(ray.put(ValueError("plain"))).args == ("plain",)
    assert get(ray.remote(lambda error: error.args).remote(KeyError("plain"))) == ("plain",)


# What unpickling raised came out of `get` as if the program had raised it itself.
def test_value_that_cannot_be_unpickled(ray, get, unreadable, make_unreadable):
    with pytest.raises(ray.exceptions.RaySystemError, match="nobody can read this") as found:
        get(ray.put(unreadable))
    assert "fail_to_unpickle" in str(found.value)
    with pytest.raises(ray.exceptions.RaySystemError, match="nobody can read this"):
        get(ray.remote(make_unreadable).remote())


def test_argument_that_cannot_be_unpickled(ray, get, unreadable):
    for argument in (unreadable, ray.put(unreadable)):
        with pytest.raises(ray.exceptions.RaySystemError, match="nobody can read this") as found:
            get(ray.remote(lambda value: "ran").remote(argument))
        assert isinstance(found.value, ray.exceptions.RayTaskError)
        assert "At least one of the input arguments" in str(found.value)


def test_argument_of_an_actor_that_cannot_be_unpickled(ray, get, unreadable, actor_class):
    actor = actor_class.remote()
    with pytest.raises(ray.exceptions.RaySystemError, match="nobody can read this"):
        get(actor.echo.remote(unreadable))
    assert get(actor.echo.remote(1)) == 1
    with pytest.raises(ray.exceptions.ActorDiedError, match="nobody can read this"):
        get(actor_class.remote(unreadable).echo.remote(1))


# Was an error of the type that the import raised, as if the function itself had raised it.
def test_definition_that_cannot_be_unpickled(ray, get, unreadable):
    class Actor:
        value = unreadable

        def read(self):
            return self.value

    message = "The remote function failed to import on the worker"
    with pytest.raises(RuntimeError, match=message) as found:
        get(ray.remote(lambda: unreadable).remote())
    assert "nobody can read this" in str(found.value)
    with pytest.raises(ray.exceptions.ActorDiedError, match="failed to import on the worker"):
        get(ray.remote(Actor).remote().read.remote())
