"""Methods of actors: ray.method, options, several results."""

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=4), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def actor(ray):
    @ray.remote
    class Actor:
        def __init__(self):
            self.calls = 0

        @ray.method(num_returns=2)
        def two(self):
            return 1, 2

        @ray.method(num_returns=0)
        def none(self):
            self.calls += 1

        def count(self):
            return self.calls

        def three(self):
            return 1, 2, 3

        @ray.method()
        def plain(self):
            return "plain"

        def large(self):
            return b"x" * 1_000_000

        def echo(self, value):
            return value

        def kind(self, items):
            return type(items[0]).__name__

        def task_name(self):
            return ray.get_runtime_context().get_task_name()

    return Actor.remote()


def test_number_of_results_by_decorator(actor, get):
    first, second = actor.two.remote()
    assert get(first) == 1 and get(second) == 2


def test_number_of_results_by_option(actor, get):
    assert get(actor.three.options(num_returns=3).remote()) == [1, 2, 3]
    assert get(actor.two.options(num_returns=1).remote()) == (1, 2)


def test_no_results(actor, get):
    before = get(actor.count.remote())
    assert actor.none.remote() is None
    assert get(actor.count.remote()) == before + 1


def test_decorator_without_options(actor, get):
    assert get(actor.plain.remote()) == "plain"


def test_decorator_refuses_unknown_options(ray):
    with pytest.raises(AssertionError, match="Unexpected keyword argument to @ray.method"):
        ray.method(colour="red")


def test_unknown_option_of_a_call(actor):
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        actor.plain.options(colour="red").remote()


def test_wrong_number_of_results(actor, get):
    for reference in actor.three.options(num_returns=2).remote():
        with pytest.raises(ValueError, match="3 objects, but num_returns=2"):
            get(reference)


def test_name_of_a_call(actor, get):
    assert get(actor.task_name.remote()) == "Actor.task_name"
    assert get(actor.task_name.options(name="renamed").remote()) == "renamed"


def test_large_result(actor, get):
    assert len(get(actor.large.remote())) == 1_000_000


@pytest.mark.parametrize("size", [10, 99_000, 150_000, 2_000_000])
def test_arguments_of_every_size(ray, actor, get, size):
    data = b"y" * size
    assert get(actor.echo.remote(data)) == data
    assert get(actor.echo.remote(ray.put(data))) == data


def test_reference_as_argument(ray, actor, get):
    assert get(actor.echo.remote(ray.put("value"))) == "value"
    assert get(actor.kind.remote([ray.put("value")])) == "ObjectRef"


def test_result_of_a_call_as_argument_of_the_next(actor, get):
    reference = actor.echo.remote(0)
    for _ in range(10):
        reference = actor.echo.remote(reference)
    assert get(reference) == 0


def test_unpicklable_argument(actor):
    import threading

    with pytest.raises(TypeError, match="Could not serialize the argument"):
        actor.echo.remote(threading.Lock())


def test_call_without_keeping_the_reference(actor, get):
    before = get(actor.count.remote())
    for _ in range(5):
        actor.__ray_call__.remote(lambda self: setattr(self, "calls", self.calls + 1))
    assert get(actor.count.remote()) == before + 5


def test_method_kept_in_a_variable(actor, get):
    echo = actor.echo
    assert get([echo.remote(number) for number in range(5)]) == list(range(5))


def test_bound_options_are_reusable(actor, get):
    renamed = actor.task_name.options(name="twice")
    assert get([renamed.remote(), renamed.remote()]) == ["twice", "twice"]
