"""Tasks that start tasks, closures, functions as values."""

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


def test_task_starts_tasks(ray, get):
    @ray.remote
    def leaf(number):
        return number

    @ray.remote
    def total(count):
        return sum(ray.get([leaf.remote(number) for number in range(count)]))

    assert get(total.remote(10)) == 45


def test_recursion_deeper_than_the_number_of_cpus(ray, get):
    @ray.remote
    def depth(levels):
        return 0 if levels == 0 else 1 + ray.get(depth.remote(levels - 1))

    assert get(depth.remote(6)) == 6


def test_tree_of_tasks(ray, get):
    @ray.remote
    def fibonacci(number):
        if number < 2:
            return number
        return sum(ray.get([fibonacci.remote(number - 1), fibonacci.remote(number - 2)]))

    assert get(fibonacci.remote(4)) == 3


def test_task_blocked_in_wait_gives_its_cpu_back(ray, get):
    @ray.remote(num_cpus=2)
    def whole_machine():
        return "inner"

    @ray.remote(num_cpus=2)
    def outer():
        ready, _ = ray.wait([whole_machine.remote()], timeout=50)
        return ray.get(ready[0]) if ready else "deadlock"

    assert get(outer.remote()) == "inner"


def test_closure_over_local_values(ray, get):
    factor = 3
    table = {"offset": 4}

    @ray.remote
    def compute(value):
        return value * factor + table["offset"]

    assert get(compute.remote(2)) == 10


def test_closure_over_a_reference(ray, get):
    reference = ray.put([1, 2, 3])

    @ray.remote
    def total():
        return sum(ray.get(reference))

    assert get(total.remote()) == 6


def test_closure_over_another_remote_function(ray, get):
    @ray.remote
    def inner(value):
        return value + 1

    @ray.remote
    def outer(value):
        return ray.get(inner.remote(value)) * 10

    assert get(outer.remote(1)) == 20


def test_captured_value_is_the_one_at_the_first_call(ray, get):
    value = [1]

    @ray.remote
    def look():
        return list(value)

    assert get(look.remote()) == [1]
    value.append(2)
    assert get(look.remote()) == [1]


def test_function_as_argument_and_as_result(ray, get):
    @ray.remote
    def apply(function, value):
        return function(value)

    @ray.remote
    def make_adder(amount):
        return lambda value: value + amount

    assert get(apply.remote(lambda value: -value, 5)) == -5
    assert get(make_adder.remote(2))(3) == 5
    assert get(apply.remote(make_adder.remote(2), 3)) == 5


def test_instance_of_a_local_class_travels(ray, get):
    class Point:
        def __init__(self, x, y):
            self.x, self.y = x, y

    @ray.remote
    def swap(point):
        return Point(point.y, point.x)

    swapped = get(swap.remote(Point(1, 2)))
    assert (swapped.x, swapped.y) == (2, 1)


def test_remote_function_made_inside_a_task(ray, get):
    @ray.remote
    def outer():
        @ray.remote
        def inner():
            return "made inside"

        return ray.get(inner.remote())

    assert get(outer.remote()) == "made inside"


def test_reference_made_in_a_task_is_used_in_another(ray, get):
    @ray.remote
    def produce():
        return [ray.put(number) for number in range(3)]

    @ray.remote
    def consume(references):
        return sum(ray.get(references))

    assert get(consume.remote(produce.remote())) == 3


def test_unpicklable_closure_names_the_culprit(ray):
    import threading

    lock = threading.Lock()

    @ray.remote
    def locked():
        return lock

    with pytest.raises(TypeError, match="lock") as caught:
        locked.remote()
    assert "Could not serialize the function" in str(caught.value)


def test_unpicklable_argument_names_the_function(ray):
    import threading

    @ray.remote
    def takes_anything(value):
        return value

    with pytest.raises(TypeError, match="Could not serialize the argument") as caught:
        takes_anything.remote(threading.Lock())
    assert "takes_anything" in str(caught.value)


@pytest.mark.whipray_only
def test_unpicklable_part_of_an_argument_is_named_by_its_path(ray):
    import threading

    with pytest.raises(TypeError) as caught:
        ray.remote(lambda value: value).remote({"outer": [1, {"inner": threading.Lock()}]})
    assert "['outer'][1]['inner']" in str(caught.value)


def test_unpicklable_result_is_the_tasks_error(ray, get):
    @ray.remote
    def make_lock():
        import threading

        return threading.Lock()

    with pytest.raises(TypeError, match="pickle") as caught:
        get(make_lock.remote())
    assert isinstance(caught.value, ray.exceptions.RayTaskError)
