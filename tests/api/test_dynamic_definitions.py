"""Definitions that no file holds, that change, or that refer to themselves and to each other."""

import dataclasses
import enum
import functools
import textwrap

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


class Notebook:
    """Cells that share their globals, as in a notebook: no source file, module `__main__`."""

    def __init__(self, ray):
        self.globals = {"__name__": "__main__", "ray": ray}

    def run(self, source):
        exec(compile(textwrap.dedent(source), "<cell>", "exec"), self.globals)

    def value(self, source):
        return eval(source, self.globals)


@pytest.fixture
def notebook(ray):
    return Notebook(ray)


def test_function_of_a_cell_uses_globals_of_other_cells(notebook, get):
    notebook.run("factor = 3")
    notebook.run("def times(x): return x * factor")
    notebook.run(
        """
        @ray.remote
        def task(x):
            return times(x)
        """
    )
    assert get(notebook.value("task.remote(5)")) == 15


def test_globals_are_those_of_the_first_call(notebook, get):
    notebook.run("factor = 3")
    notebook.run("@ray.remote\ndef task(x): return x * factor")
    assert get(notebook.value("task.remote(5)")) == 15
    notebook.run("factor = 4")
    assert get(notebook.value("task.remote(5)")) == 15
    notebook.run("@ray.remote\ndef task(x): return x * factor")
    assert get(notebook.value("task.remote(5)")) == 20


def test_redefined_function_and_class(notebook, get):
    notebook.run("@ray.remote\ndef task(): return 'old'")
    old = notebook.value("task")
    assert get(old.remote()) == "old"
    notebook.run("@ray.remote\ndef task(): return 'new'")
    assert get(notebook.value("task.remote()")) == "new"
    assert get(old.remote()) == "old"
    notebook.run("@ray.remote\nclass Actor:\n    def version(self): return 1")
    first = notebook.value("Actor.remote()")
    assert get(first.version.remote()) == 1
    notebook.run(
        "@ray.remote\nclass Actor:\n    def version(self): return 2\n    def more(self): return 3"
    )
    second = notebook.value("Actor.remote()")
    assert get(second.version.remote()) == 2
    assert get(second.more.remote()) == 3
    assert get(first.version.remote()) == 1
    with pytest.raises(AttributeError):
        first.more  # noqa: B018


def test_class_of_a_cell_travels(notebook, get):
    notebook.run(
        """
        class Point:
            def __init__(self, x): self.x = x
            def moved(self): return Point(self.x + 1)

        @ray.remote
        def move(point): return point.moved()
        """
    )
    moved = get(notebook.value("move.remote(Point(1))"))
    assert moved.x == 2
    assert isinstance(moved, notebook.value("Point"))


def test_recursive_task(ray, get):
    @ray.remote(num_cpus=0)
    def factorial(n):
        return 1 if n == 0 else n * ray.get(factorial.remote(n - 1))

    assert get(factorial.remote(6)) == 720


def test_tasks_that_call_each_other(notebook, get):
    notebook.run(
        """
        @ray.remote(num_cpus=0)
        def is_even(n): return True if n == 0 else ray.get(is_odd.remote(n - 1))

        @ray.remote(num_cpus=0)
        def is_odd(n): return False if n == 0 else ray.get(is_even.remote(n - 1))
        """
    )
    assert get(notebook.value("is_even.remote(4)")) is True


def test_remote_definitions_inside_of_a_task(ray, get):
    @ray.remote(num_cpus=0)
    def outer(n):
        @ray.remote(num_cpus=0)
        def inner(value):
            return value + n

        @ray.remote(num_cpus=0)
        class Keeper:
            def keep(self, value):
                return [value, n]

        return ray.get([inner.remote(1), Keeper.remote().keep.remote(2)])

    assert get(outer.remote(10)) == [11, [2, 10]]


def test_closures_over_references_and_handles(ray, get):
    reference = ray.put(["put"])

    @ray.remote
    class Counter:
        def __init__(self):
            self.count = 0

        def add(self):
            self.count += 1
            return self.count

    counter = Counter.remote()

    @ray.remote
    def use():
        return ray.get(reference), ray.get(counter.add.remote())

    assert get(use.remote()) == (["put"], 1)
    assert get(use.remote()) == (["put"], 2)


def test_lambda_and_default_that_is_a_lambda(ray, get):
    task = ray.remote(lambda x, change=lambda value: value + 1: change(x))
    assert get(task.remote(1)) == 2
    assert get(task.remote(1, change=lambda value: value * 10)) == 10


def test_decorated_function(ray, get):
    def shouting(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs).upper()

        return wrapper

    @ray.remote
    @shouting
    def greet(name, *, greeting="hello"):
        return f"{greeting} {name}"

    assert get(greet.remote("you", greeting="hi")) == "HI YOU"
    with pytest.raises(TypeError):
        greet.remote("you", farewell="bye")


def test_enums_travel_by_identity(ray, get):
    class Colour(enum.Enum):
        RED = 1
        GREEN = 2

    @ray.remote
    def is_red(colour):
        return colour is Colour.RED, colour

    red, colour = get(is_red.remote(Colour.RED))
    assert red
    assert colour is Colour.RED


def test_dataclasses_and_slots(ray, get):
    @dataclasses.dataclass(frozen=True)
    class Point:
        x: int
        y: int = 2

    class Slotted:
        __slots__ = ("value", "unset")

        def __init__(self, value):
            self.value = value

    @ray.remote
    def swap(point, slotted):
        return Point(point.y, point.x), slotted.value, hasattr(slotted, "unset")

    assert get(swap.remote(Point(1), Slotted("s"))) == (Point(2, 1), "s", False)


def test_dataclass_with_slots_as_an_actor(ray, get):
    @ray.remote
    @dataclasses.dataclass
    class Keeper:
        first: int
        second: str = "two"

        def both(self):
            return self.first, self.second

    assert get(Keeper.remote(1).both.remote()) == (1, "two")
    with pytest.raises(TypeError):
        Keeper.remote()


def test_exception_that_needs_arguments(ray, get):
    class NeedsTwo(Exception):
        def __init__(self, first, second):
            super().__init__(first, second)
            self.first, self.second = first, second

    class LosesThem(Exception):
        def __init__(self, first, second):
            super().__init__(f"{first} and {second}")

    @ray.remote(max_retries=0)
    def fail(kind):
        raise kind(1, "b")

    with pytest.raises(NeedsTwo) as caught:
        get(fail.remote(NeedsTwo))
    assert (caught.value.first, caught.value.second) == (1, "b")
    # What pickle cannot make again arrives as its text.
    with pytest.raises(ray.exceptions.RayError, match="1 and b"):
        get(fail.remote(LosesThem))


def test_one_class_for_many_actors_made_in_a_loop(ray, get):
    def make(number):
        class Numbered:
            def number(self):
                return number

        return ray.remote(num_cpus=0)(Numbered).remote()

    actors = [make(number) for number in range(5)]
    assert get([actor.number.remote() for actor in actors]) == list(range(5))


def test_class_variables_are_those_of_each_actor(ray, get):
    @ray.remote(num_cpus=0)
    class Sharing:
        shared = []

        def add(self, value):
            self.shared.append(value)
            return list(type(self).shared)

    first, second = Sharing.remote(), Sharing.remote()
    assert get(first.add.remote(1)) == [1]
    assert get(second.add.remote(2)) == [2]
    assert get(first.add.remote(3)) == [1, 3]
