"""Where tasks and actors run: spread, on a certain node, by the labels of nodes."""

from importlib import import_module

import pytest

pytestmark = [
    pytest.mark.cluster(num_cpus=4, labels={"zone": "a", "kind": "large"}),
    pytest.mark.usefixtures("cluster"),
]

NOBODY = "ab" * 28


@pytest.fixture(scope="module")
def strategies(ray):
    return import_module(f"{ray.__name__}.util.scheduling_strategies")


@pytest.fixture(scope="module")
def here(ray):
    return ray.nodes()[0]["NodeID"]


@pytest.fixture(scope="module")
def node(ray):
    @ray.remote
    def node():
        return ray.get_runtime_context().get_node_id()

    return node


@pytest.fixture(scope="module")
def actor_class(ray):
    @ray.remote
    class Actor:
        def node(self):
            return ray.get_runtime_context().get_node_id()

    return Actor


def test_names_of_strategies(node, actor_class, here, get):
    for name in ("DEFAULT", "SPREAD"):
        assert get(node.options(scheduling_strategy=name).remote()) == here
        actor = actor_class.options(scheduling_strategy=name).remote()
        assert get(actor.node.remote()) == here


def test_affinity_to_a_node_that_is_there(node, actor_class, strategies, here, get):
    for soft in (True, False):
        affinity = strategies.NodeAffinitySchedulingStrategy(here, soft=soft)
        assert get(node.options(scheduling_strategy=affinity).remote()) == here
        actor = actor_class.options(scheduling_strategy=affinity).remote()
        assert get(actor.node.remote()) == here


def test_soft_affinity_to_a_node_that_is_not_there(node, actor_class, strategies, here, get):
    affinity = strategies.NodeAffinitySchedulingStrategy(NOBODY, soft=True)
    assert get(node.options(scheduling_strategy=affinity).remote()) == here
    assert get(actor_class.options(scheduling_strategy=affinity).remote().node.remote()) == here


def test_hard_affinity_to_a_node_that_is_not_there(ray, node, actor_class, strategies, get):
    affinity = strategies.NodeAffinitySchedulingStrategy(NOBODY, soft=False)
    with pytest.raises(ray.exceptions.TaskUnschedulableError, match="The task is not schedulable"):
        get(node.options(scheduling_strategy=affinity).remote())
    actor = actor_class.options(scheduling_strategy=affinity).remote()
    with pytest.raises(ray.exceptions.ActorUnschedulableError, match="actor is not schedulable"):
        get(actor.node.remote())


def test_hard_affinity_to_a_node_that_is_too_small(ray, node, strategies, here, get):
    affinity = strategies.NodeAffinitySchedulingStrategy(here, soft=False)
    with pytest.raises(ray.exceptions.TaskUnschedulableError):
        get(node.options(scheduling_strategy=affinity, num_cpus=100).remote())


def test_a_refused_function_can_be_called_again(ray, node, strategies, get):
    affinity = strategies.NodeAffinitySchedulingStrategy(NOBODY, soft=False)
    refused = node.options(scheduling_strategy=affinity)
    for _ in range(3):
        references = [refused.remote() for _ in range(3)]
        for reference in references:
            with pytest.raises(ray.exceptions.TaskUnschedulableError):
                get(reference)


def test_affinity_takes_ids_of_nodes_alone(strategies):
    for text in ("xyz", "abcd"):
        with pytest.raises(ValueError, match=f"Invalid node_id '{text}'"):
            strategies.NodeAffinitySchedulingStrategy(text, soft=False)
    with pytest.raises(ValueError, match="_spill_on_unavailable cannot be set when soft is False"):
        strategies.NodeAffinitySchedulingStrategy(NOBODY, soft=False, _spill_on_unavailable=True)
    with pytest.raises(ValueError, match="_fail_on_unavailable cannot be set when soft is True"):
        strategies.NodeAffinitySchedulingStrategy(NOBODY, soft=True, _fail_on_unavailable=True)


def test_labels_that_the_node_has(node, actor_class, strategies, here, get):
    by = strategies.NodeLabelSchedulingStrategy
    for strategy in (
        by(hard={"zone": strategies.In("a", "b")}),
        by(hard={"zone": strategies.Exists()}),
        by(hard={"zone": strategies.NotIn("b")}),
        by(hard={"gone": strategies.DoesNotExist()}),
        by(hard={"zone": strategies.In("a")}, soft={"zone": strategies.In("q")}),
        by(hard={}, soft={"zone": strategies.In("q")}),
    ):
        assert get(node.options(scheduling_strategy=strategy).remote()) == here
        actor = actor_class.options(scheduling_strategy=strategy).remote()
        assert get(actor.node.remote()) == here


def test_a_task_waits_for_labels_that_no_node_has(ray, node, strategies):
    by = strategies.NodeLabelSchedulingStrategy
    references = [
        node.options(scheduling_strategy=by(hard=hard)).remote()
        for hard in (
            {"zone": strategies.NotIn("a")},
            {"gone": strategies.Exists()},
            {"zone": strategies.DoesNotExist()},
            {"zone": strategies.In("a"), "kind": strategies.In("small")},
        )
    ]
    assert ray.wait(references, num_returns=4, timeout=1)[0] == []
    for reference in references:
        ray.cancel(reference)


BAD_CONDITIONS = [
    (lambda s: s.In(), "must be a non-empty tuple"),
    (lambda s: s.NotIn(), "must be a non-empty tuple"),
    (lambda s: s.In("a", 3), "position 1 for the In operator must be str"),
    (lambda s: s.NodeLabelSchedulingStrategy(hard=None), "cannot both be empty"),
    (lambda s: s.NodeLabelSchedulingStrategy(hard={}), "cannot both be empty"),
    (lambda s: s.NodeLabelSchedulingStrategy(hard={}, soft={}), "cannot both be empty"),
    (lambda s: s.NodeLabelSchedulingStrategy(hard={"a": "b"}), "must be one of the `In`"),
    (lambda s: s.NodeLabelSchedulingStrategy(hard={3: s.In("a")}), "must be of type str"),
    (lambda s: s.NodeLabelSchedulingStrategy(hard="x"), "must be a map"),
]


@pytest.mark.parametrize("make, message", BAD_CONDITIONS)
def test_conditions_without_sense(strategies, make, message):
    with pytest.raises(ValueError, match=message):
        make(strategies)


def test_what_is_no_strategy(node):
    with pytest.raises(TypeError, match="The type of keyword 'scheduling_strategy' must be"):
        node.options(scheduling_strategy=5)
    with pytest.raises(ValueError, match="Invalid scheduling_strategy value NEAR"):
        node.options(scheduling_strategy="NEAR").remote()
