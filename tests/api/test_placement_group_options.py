"""Placement groups that make no sense, and options that contradict each other."""

from importlib import import_module

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=4), pytest.mark.usefixtures("cluster")]

BAD_GROUPS = [
    (([],), "Got empty list instead"),
    (([{}],), "only 0 values"),
    (([{"CPU": 0}],), "only 0 values"),
    (([{"CPU": 1}, {}],), "only 0 values"),
    (({"CPU": 1},), "must be a list"),
    ((None,), "must be a list"),
    (([{"CPU": "a"}],), "non-empty list of resource dictionaries"),
    (([{1: 2}],), "non-empty list of resource dictionaries"),
    ((["a"],), "non-empty list of resource dictionaries"),
    (([{"CPU": 1}], "NEAR"), "Invalid placement group strategy NEAR"),
]


@pytest.mark.parametrize("arguments, message", BAD_GROUPS)
def test_a_group_without_sense_is_refused(ray, arguments, message):
    with pytest.raises(ValueError, match=message):
        ray.util.placement_group(*arguments)


BAD_OPTIONS = [
    ({"lifetime": "for ever"}, ValueError, "either `None` or 'detached'. Got for ever"),
    ({"name": None}, TypeError, None),
    ({"name": 3}, TypeError, None),
    ({"bundle_label_selector": [{"a": "b"}] * 2}, ValueError, "should equal the length"),
    ({"bundle_label_selector": [{"a": "!in("}]}, ValueError, "Invalid label selector"),
    ({"bundle_label_selector": []}, ValueError, "should equal the length"),
    ({"bundle_label_selector": "x"}, ValueError, "must be a list"),
    ({"bundle_label_selector": [{"a": 5}]}, ValueError, "list of string dictionary"),
    ({"_soft_target_node_id": "x", "strategy": "STRICT_PACK"}, ValueError, "Invalid hex ID"),
    ({"_soft_target_node_id": "ab" * 28}, ValueError, "only works with STRICT_PACK but got PACK"),
]


@pytest.mark.parametrize("options, error, message", BAD_OPTIONS)
def test_an_option_without_sense_is_refused(ray, options, error, message):
    with pytest.raises(error, match=message):
        ray.util.placement_group([{"CPU": 1}], **options)


@pytest.mark.whipray_only
def test_a_negative_amount_is_refused(ray):
    with pytest.raises(ValueError, match="cannot have -1 of CPU"):
        ray.util.placement_group([{"CPU": -1}])


@pytest.fixture(scope="module")
def group(ray):
    made = ray.util.placement_group([{"CPU": 1}, {"CPU": 0.5, "memory": 1000}])
    assert made.wait(60)
    yield made
    ray.util.remove_placement_group(made)


@pytest.fixture(scope="module")
def function(ray):
    @ray.remote
    def function():
        pass

    return function


def test_an_index_that_no_bundle_has(function, group):
    for index in (2, -2):
        with pytest.raises(ValueError, match=f"bundle index {index} is invalid"):
            function.options(placement_group=group, placement_group_bundle_index=index).remote()


def test_a_request_that_fits_into_no_bundle(ray, function, group):
    for options in ({"num_cpus": 2}, {"num_gpus": 1}, {"resources": {"custom": 1}}):
        with pytest.raises(ValueError, match="cannot fit into any bundles"):
            function.options(placement_group=group, **options).remote()


def test_an_actor_needs_a_bundle_with_a_cpu(ray):
    made = ray.util.placement_group([{"memory": 1000}])

    @ray.remote
    class Actor:
        pass

    with pytest.raises(ValueError, match="requires 1 CPU for creation"):
        Actor.options(placement_group=made).remote()
    ray.util.remove_placement_group(made)


def test_two_ways_to_name_a_group(ray, function, group):
    strategies = import_module(f"{ray.__name__}.util.scheduling_strategies")
    inside = strategies.PlacementGroupSchedulingStrategy(group)
    for strategy in ("SPREAD", inside):
        with pytest.raises(ValueError, match="specified via the scheduling_strategy option"):
            function.options(placement_group=group, scheduling_strategy=strategy).remote()


def test_an_index_without_a_group(function):
    with pytest.raises(ValueError, match="value of bundle index must be -1"):
        function.options(placement_group_bundle_index=1).remote()


def test_what_is_no_group(function):
    with pytest.raises(TypeError, match="The type of keyword 'placement_group' must be"):
        function.options(placement_group=5)


def test_a_strategy_without_a_group_is_the_default(ray, function, get):
    strategies = import_module(f"{ray.__name__}.util.scheduling_strategies")
    nothing = strategies.PlacementGroupSchedulingStrategy(None)
    assert get(function.options(scheduling_strategy=nothing).remote()) is None
