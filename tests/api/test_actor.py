"""Actors: creation, arguments, state, order, the class around them."""

import os

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=4), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def counter_class(ray):
    @ray.remote
    class Counter:
        step = 1

        def __init__(self, start=0, *, name="counter"):
            self.count = start
            self.name = name

        def up(self, amount=None):
            self.count += self.step if amount is None else amount
            return self.count

        def describe(self):
            return self.name, self.count

        def process(self):
            return os.getpid()

    return Counter


@pytest.fixture(scope="module")
def counter(counter_class):
    return counter_class.remote()


def test_keeps_its_state(counter_class, get):
    actor = counter_class.remote(10)
    assert get(actor.up.remote()) == 11
    assert get(actor.up.remote(5)) == 16
    assert get(actor.up.remote(amount=-6)) == 10


def test_arguments_of_the_constructor(counter_class, get):
    assert get(counter_class.remote(3, name="three").describe.remote()) == ("three", 3)


def test_reference_as_argument_of_the_constructor(ray, counter_class, get):
    actor = counter_class.remote(ray.put(7), name=ray.remote(lambda: "made").remote())
    assert get(actor.describe.remote()) == ("made", 7)


def test_lives_in_a_process_of_its_own(counter_class, get):
    processes = get([counter_class.remote().process.remote() for _ in range(2)])
    assert len({os.getpid(), *processes}) == 3


def test_all_calls_run_in_the_same_process(counter, get):
    assert len(set(get([counter.process.remote() for _ in range(10)]))) == 1


def test_calls_of_one_caller_run_in_order(ray, get):
    @ray.remote
    class Log:
        def __init__(self):
            self.seen = []

        def add(self, value):
            self.seen.append(value)

        def all(self):
            return self.seen

    log = Log.remote()
    for number in range(200):
        log.add.remote(number)
    assert get(log.all.remote()) == list(range(200))


def test_order_holds_when_an_argument_is_late(ray, get, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote
    def late():
        import time

        while not gate.exists():
            time.sleep(0.01)
        return "late"

    @ray.remote
    class Log:
        def __init__(self):
            self.seen = []

        def add(self, value):
            self.seen.append(value)
            return list(self.seen)

    log = Log.remote()
    log.add.remote(late.remote())
    second = log.add.remote("early")
    gate.touch()
    assert get(second) == ["late", "early"]


def test_wrong_arguments_are_refused_at_the_call(counter_class, counter):
    with pytest.raises(TypeError, match="too many positional arguments"):
        counter_class.remote(1, 2)
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'colour'"):
        counter_class.remote(colour="red")
    with pytest.raises(TypeError, match="too many positional arguments"):
        counter.up.remote(1, 2)
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'colour'"):
        counter.up.remote(colour="red")


def test_cannot_be_made_directly(counter_class):
    with pytest.raises(TypeError, match="Actors cannot be instantiated directly"):
        counter_class()


def test_methods_cannot_be_called_directly(counter):
    with pytest.raises(TypeError, match="Actor methods cannot be called directly"):
        counter.up()


def test_missing_method(counter):
    with pytest.raises(AttributeError, match="has no attribute 'down'"):
        counter.down


def test_attributes_of_the_instance_are_not_visible(counter):
    with pytest.raises(AttributeError, match="has no attribute 'count'"):
        counter.count


def test_error_in_a_method_leaves_the_actor_alive(ray, get):
    @ray.remote
    class Fragile:
        def __init__(self):
            self.calls = 0

        def fail(self):
            self.calls += 1
            raise ValueError("still here")

        def calls_so_far(self):
            return self.calls

    actor = Fragile.remote()
    with pytest.raises(ValueError, match="still here") as caught:
        get(actor.fail.remote())
    assert isinstance(caught.value, ray.exceptions.RayTaskError)
    assert "Fragile.fail" in str(caught.value)
    assert get(actor.calls_so_far.remote()) == 1


def test_class_without_constructor(ray, get):
    @ray.remote
    class Plain:
        def hello(self):
            return "hello"

    assert get(Plain.remote().hello.remote()) == "hello"


def test_decorated_with_options(ray, get):
    @ray.remote(num_cpus=2)
    class Wide:
        def cpus(self):
            return ray.get_runtime_context().get_assigned_resources()

    assert get(Wide.remote().cpus.remote()) == {"CPU": 2}
    assert get(Wide.options(num_cpus=1).remote().cpus.remote()) == {"CPU": 1}


def test_remote_as_a_function(ray, get):
    class Plain:
        def double(self, value):
            return 2 * value

    assert get(ray.remote(Plain).remote().double.remote(2)) == 4
    assert get(ray.remote(num_cpus=0)(Plain).remote().double.remote(3)) == 6
    assert Plain().double(4) == 8


def test_inherited_methods(ray, get):
    class Base:
        def who(self):
            return "base"

        def both(self):
            return "base", self.who()

    @ray.remote
    class Child(Base):
        def who(self):
            return "child"

    actor = Child.remote()
    assert get(actor.who.remote()) == "child"
    assert get(actor.both.remote()) == ("base", "child")


def test_actor_class_cannot_be_inherited_from(ray, counter_class):
    with pytest.raises(TypeError):

        class Child(counter_class):
            pass


def test_special_static_and_class_methods(ray, get):
    @ray.remote
    class Special:
        def __call__(self, value):
            return "called", value

        def __len__(self):
            return 7

        @staticmethod
        def static():
            return "static"

        @classmethod
        def of_class(cls):
            return cls.__name__

    actor = Special.remote()
    assert get(actor.__call__.remote(1)) == ("called", 1)
    assert get(actor.__len__.remote()) == 7
    assert get(actor.static.remote()) == "static"
    assert get(actor.of_class.remote()) == "Special"


def test_ready_and_call_of_any_function(counter_class, get):
    actor = counter_class.remote(4)
    assert get(actor.__ray_ready__.remote()) is True
    assert get(actor.__ray_call__.remote(lambda self, add: self.count + add, 2)) == 6


def test_text_of_class_and_handle(counter_class, counter):
    assert "ActorClass(Counter)" in repr(counter_class)
    assert repr(counter).startswith("Actor(")
    assert repr(counter).endswith(f"Counter, {counter._actor_id.hex()})")
    assert len(counter._actor_id.hex()) == 32


def test_many_actors_share_the_machine(ray, get):
    @ray.remote(num_cpus=0)
    class Echo:
        def echo(self, value):
            return value

    actors = [Echo.remote() for _ in range(8)]
    assert get([actor.echo.remote(n) for n, actor in enumerate(actors)]) == list(range(8))


def test_waits_for_its_resources(ray, get):
    @ray.remote(num_cpus=4)
    class Whole:
        def hello(self):
            return "hello"

    first, second = Whole.remote(), Whole.remote()
    assert get(first.hello.remote()) == "hello"
    waiting = second.hello.remote()
    assert ray.wait([waiting], timeout=0.2)[0] == []
    ray.kill(first)
    assert get(waiting) == "hello"
