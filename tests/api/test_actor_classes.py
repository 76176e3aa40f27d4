"""What kinds of classes can be actors, and which of their attributes can be called."""

import abc
import asyncio
import functools
import typing

import pytest
from harness.waiting import until

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


class Abstract(abc.ABC):
    @abc.abstractmethod
    def method(self): ...


def test_abstract_class(ray, get):
    with pytest.raises(TypeError, match="Can't instantiate abstract class"):
        ray.remote(Abstract).remote()

    class Concrete(abc.ABC):
        @abc.abstractmethod
        def method(self): ...

    class Derived(Concrete):
        def method(self):
            return "derived"

    assert get(ray.remote(Derived).remote().method.remote()) == "derived"


def test_generic_class(ray, get):
    Item = typing.TypeVar("Item")

    class Box(typing.Generic[Item]):
        def __init__(self, item: Item):
            self.item = item

        def open(self) -> Item:
            return self.item

    assert get(ray.remote(Box).remote(5).open.remote()) == 5


def test_constructor_that_is_a_coroutine(ray, get):
    class Slow:
        async def __init__(self, value, other=None):
            await asyncio.sleep(0)
            self.value = [value, await other[0] if other else None]

        async def get(self):
            return self.value

    assert get(ray.remote(Slow).remote(1).get.remote()) == [1, None]
    later = ray.put("later")
    assert get(ray.remote(Slow).remote(1, other=[later]).get.remote()) == [1, "later"]


def test_coroutine_constructor_that_raises(ray, get):
    class Failing:
        async def __init__(self):
            raise KeyError("not today")

        async def get(self):
            return 1

    with pytest.raises(ray.exceptions.ActorDiedError, match="not today"):
        get(ray.remote(Failing).remote().get.remote())


def test_methods_of_every_kind(ray, get):
    def shouting(method):
        @functools.wraps(method)
        def wrapper(self, *args, **kwargs):
            return method(self, *args, **kwargs).upper()

        return wrapper

    class Many:
        doubled = lambda self, number: 2 * number  # noqa: E731

        def add(self, first, second):
            return first + second

        add_four = functools.partialmethod(add, 4)

        @shouting
        def greet(self, name, greeting="hello"):
            return f"{greeting} {name}"

        def everything(self, *args, **kwargs):
            return args, kwargs

        def __call__(self, value):
            return value + 1

        def _hidden(self):
            return "hidden"

        @property
        def shown(self):
            return 1

    many = ray.remote(Many).remote()
    assert get(many.doubled.remote(3)) == 6
    assert get(many.add_four.remote(5)) == 9
    assert get(many.greet.remote("you", greeting="hi")) == "HI YOU"
    assert get(many.everything.remote(1, [2], three=3)) == ((1, [2]), {"three": 3})
    assert get(many.__call__.remote(1)) == 2
    assert get(many._hidden.remote()) == "hidden"
    with pytest.raises(AttributeError):
        many.shown.remote()
    with pytest.raises(TypeError, match="missing a required argument: 'name'"):
        many.greet.remote()
    with pytest.raises(TypeError, match="multiple values for argument 'name'"):
        many.greet.remote("you", name="me")


def test_names_that_the_handle_uses_itself(ray, get):
    class Clashing:
        def __init__(self, name=None, args=None, kwargs=None):
            self.given = name, args, kwargs

        def remote(self):
            return "remote"

        def options(self):
            return "options"

        def given_to(self, name=None, num_returns=None, args=None, kwargs=None):
            return self.given, name, num_returns, args, kwargs

    clashing = ray.remote(Clashing).remote(name=1, args=2, kwargs=3)
    assert get(clashing.remote.remote()) == "remote"
    assert get(clashing.options.remote()) == "options"
    told = get(clashing.given_to.remote(name=4, num_returns=5, args=6, kwargs=7))
    assert told == ((1, 2, 3), 4, 5, 6, 7)


def test_missing_attributes_as_usual(ray):
    class Plain:
        value = 1

        def method(self):
            return 1

    plain = ray.remote(Plain).remote()
    assert not hasattr(plain, "missing")
    assert getattr(plain, "missing", "default") == "default"
    assert not hasattr(plain, "value")
    assert ray.remote(Plain).value == 1


def test_method_that_is_called_by_the_actor_itself(ray, get):
    @ray.remote
    class Recursive:
        async def outer(self):
            me = ray.get_runtime_context().current_actor
            return await me.inner.remote()

        async def inner(self):
            return "inner"

    assert get(Recursive.remote().outer.remote()) == "inner"


def test_owned_actor_ends_with_the_actor_that_made_it(ray, get):
    @ray.remote(num_cpus=0)
    class Child:
        def method(self):
            return 1

    @ray.remote(num_cpus=0)
    class Parent:
        def __init__(self):
            self.child = Child.remote()

        def get_child(self):
            return self.child

    parent = Parent.remote()
    child = get(parent.get_child.remote())
    assert get(child.method.remote()) == 1
    ray.kill(parent)

    def is_dead():
        try:
            get(child.method.remote())
        except ray.exceptions.ActorDiedError:
            return True
        return False

    until(is_dead, "the child ends")


def test_text_of_a_failed_argument_names_the_actor(ray, get):
    @ray.remote(max_retries=0)
    def fail():
        raise ValueError("the argument failed")

    @ray.remote
    class Actor:
        def method(self, value):
            return value

    with pytest.raises(ValueError, match="the argument failed") as caught:
        get(Actor.remote().method.remote(fail.remote()))
    assert "actor_id=" in str(caught.value)


def test_class_behind_an_actor_class(ray):
    class Counter:
        def count(self):
            return 1

    found = ray.remote(num_cpus=2, max_restarts=3)(Counter).__ray_metadata__
    assert found.class_name.endswith("Counter")
    assert (found.num_cpus, found.max_restarts) == (2, 3)
    assert found.modified_class().count() == 1

    class Derived(found.modified_class):
        pass

    assert Derived().count() == 1


def test_annotations_of_handles(ray, get):
    class Counter:
        def count(self):
            return 1

    def use(counter: ray.actor.ActorProxy[Counter]) -> int:
        return ray.get(counter.count.remote())

    assert typing.get_args(use.__annotations__["counter"])[1] == type[Counter]
    assert get(ray.remote(use).remote(ray.remote(Counter).remote())) == 1
