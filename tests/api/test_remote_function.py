"""Remote functions: calling, arguments, results, options."""

import pytest
from harness.waiting import until

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


def test_returns_a_reference_at_once(ray, get):
    @ray.remote
    def answer():
        return 42

    reference = answer.remote()
    assert isinstance(reference, ray.ObjectRef)
    assert get(reference) == 42


def test_positional_and_keyword_arguments(ray, get):
    @ray.remote
    def shape(first, second=2, *others, keyword=4, **more):
        return first, second, others, keyword, more

    assert get(shape.remote(1)) == (1, 2, (), 4, {})
    assert get(shape.remote(1, 3, 5, 6, keyword=7, z=8)) == (1, 3, (5, 6), 7, {"z": 8})
    assert get(shape.remote(second=1, first=0)) == (0, 1, (), 4, {})


@pytest.mark.parametrize(
    "positional, keywords, message",
    [
        ((), {}, "missing a required argument: 'first'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"third": 3}, "got an unexpected keyword argument 'third'"),
        ((1,), {"first": 3}, "multiple values for argument 'first'"),
    ],
)
def test_wrong_arguments_are_refused_at_the_call(ray, positional, keywords, message):
    @ray.remote
    def two(first, second=2):
        return first, second

    with pytest.raises(TypeError, match=message):
        two.remote(*positional, **keywords)


def test_cannot_be_called_directly(ray):
    @ray.remote
    def answer():
        return 42

    with pytest.raises(TypeError, match="Remote functions cannot be called directly") as caught:
        answer()
    assert "answer.remote()" in str(caught.value)


def test_arguments_are_copied(ray, get):
    @ray.remote
    def append(items):
        items.append(4)
        return items

    items = [1, 2, 3]
    assert get(append.remote(items)) == [1, 2, 3, 4]
    assert items == [1, 2, 3]


def test_top_level_reference_arrives_as_its_value(ray, get):
    @ray.remote
    def kinds(positional, keyword=None):
        return type(positional).__name__, type(keyword).__name__

    assert get(kinds.remote(ray.put(1), keyword=ray.put("text"))) == ("int", "str")


def test_nested_reference_stays_a_reference(ray, get):
    @ray.remote
    def look(items, table):
        inner = items[0]
        assert isinstance(inner, ray.ObjectRef)
        assert isinstance(table["key"], ray.ObjectRef)
        return ray.get(inner) + ray.get(table["key"])

    assert get(look.remote([ray.put(1)], {"key": ray.put(2)})) == 3


def test_result_of_a_task_is_an_argument_of_the_next(ray, get):
    @ray.remote
    def up(value):
        return value + 1

    reference = up.remote(0)
    for _ in range(20):
        reference = up.remote(reference)
    assert get(reference) == 21


def test_reference_returned_from_a_task(ray, get):
    @ray.remote
    def wrap(value):
        return [ray.put(value)]

    (inner,) = get(wrap.remote("deep"))
    assert get(inner) == "deep"


def test_bare_reference_returned_from_a_task_stays_a_reference(ray, get):
    @ray.remote
    def put(value):
        return ray.put(value)

    inner = get(put.remote("once more"))
    assert isinstance(inner, ray.ObjectRef)
    assert get(inner) == "once more"


@pytest.mark.parametrize("size", [0, 1, 99_000, 150_000, 3_000_000])
def test_sizes_around_the_inline_threshold(ray, get, size):
    @ray.remote
    def echo(data):
        return data

    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert get(echo.remote(data)) == data
    assert get(echo.remote(ray.put(data))) == data


def test_none_is_a_result(ray, get):
    assert get(ray.remote(lambda: None).remote()) is None


def test_several_results(ray, get):
    @ray.remote(num_returns=3)
    def three():
        return 1, [2], "3"

    references = three.remote()
    assert isinstance(references, list) and len(references) == 3
    assert get(references) == [1, [2], "3"]


def test_one_result_of_a_sequence_stays_a_sequence(ray, get):
    @ray.remote(num_returns=3)
    def three():
        return 1, 2, 3

    assert get(three.options(num_returns=1).remote()) == (1, 2, 3)
    assert get(three.remote()) == [1, 2, 3]


def test_no_result(ray, get, tmp_path):
    path = tmp_path / "ran"

    @ray.remote(num_returns=0)
    def touch():
        path.touch()

    assert touch.remote() is None
    until(path.exists, "the task without result runs")


@pytest.mark.parametrize("count", [1, 3])
def test_wrong_number_of_results(ray, get, count):
    @ray.remote(num_returns=2)
    def results():
        return [0] * count

    message = f"Task returned {count} objects, but num_returns=2."
    for reference in results.remote():
        with pytest.raises(ValueError, match=message) as caught:
            get(reference)
        assert isinstance(caught.value, ray.exceptions.RayTaskError)


def test_single_value_for_several_results(ray, get):
    with pytest.raises(TypeError, match="has no len"):
        get(ray.remote(lambda: 1).options(num_returns=2).remote())


def test_options_leave_the_function_as_it_was(ray, get):
    @ray.remote(num_cpus=1)
    def cpus():
        return ray.get_runtime_context().get_assigned_resources()

    assert get(cpus.options(num_cpus=2).remote()) == {"CPU": 2}
    assert get(cpus.remote()) == {"CPU": 1}


def test_lambda_and_callable_forms_of_remote(ray, get):
    def plain(value):
        return value

    assert get(ray.remote(lambda value: value * 2).remote(4)) == 8
    assert get(ray.remote(plain).remote(1)) == 1
    assert get(ray.remote(num_cpus=1)(plain).remote(2)) == 2


def test_original_function_stays_reachable(ray):
    def plain(value):
        return value

    remote = ray.remote(plain)
    assert remote._function is plain


@pytest.mark.parametrize("arguments", [(), (1,), (1, 2)])
def test_remote_needs_a_function_or_a_class(ray, arguments):
    with pytest.raises(AssertionError, match="must be applied either with no arguments"):
        ray.remote(*arguments)


def test_remote_refuses_other_callables(ray):
    with pytest.raises(TypeError, match="must be applied to either a function or a class"):
        ray.remote(len)


def test_many_tasks_keep_their_results_apart(ray, get):
    square = ray.remote(lambda value: value * value)
    assert get([square.remote(number) for number in range(300)]) == [
        number * number for number in range(300)
    ]
