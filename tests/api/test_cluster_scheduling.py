"""Which of several nodes tasks, actors and placement groups go to."""

from collections import Counter

import pytest
from harness.waiting import until

pytestmark = pytest.mark.usefixtures("nodes")

NOBODY = "ab" * 28


@pytest.fixture(scope="module")
def meeting(ray, tmp_path_factory):
    """`meeting(count, **options)` runs so many tasks that wait for each other; their nodes."""

    @ray.remote
    def guest(room, number, count):
        import time

        # Who waits for a value gives its CPU to others: so they meet in a folder.
        (room / str(number)).touch()
        while len(list(room.iterdir())) < count:
            time.sleep(0.02)
        return ray.get_runtime_context().get_node_id()

    def meeting(count, **options):
        room = tmp_path_factory.mktemp("room")
        return [guest.options(**options).remote(room, it, count) for it in range(count)]

    return meeting


def idle(ray):
    until(lambda: ray.available_resources().get("CPU") == 6, "all CPUs are free")


def test_a_lone_task_runs_where_it_is_called(nodes, where, get):
    assert get(where.remote()) == nodes.head


def test_what_does_not_fit_runs_elsewhere(ray, nodes, meeting, get):
    idle(ray)
    assert Counter(get(meeting(6))) == {nodes.head: 2, nodes.one: 2, nodes.two: 2}


def test_a_queue_is_worked_off_everywhere(ray, nodes, get):
    @ray.remote
    def short(number):
        import time

        time.sleep(0.05)
        return number, ray.get_runtime_context().get_node_id()

    results = get([short.remote(number) for number in range(60)])
    assert [number for number, _ in results] == list(range(60))
    assert {node for _, node in results} == nodes.all


def test_spread_tasks(ray, nodes, meeting, get):
    idle(ray)
    assert set(get(meeting(3, scheduling_strategy="SPREAD"))) == nodes.all


def test_spread_actors(ray, nodes, Dweller, get):
    idle(ray)
    actors = [Dweller.options(num_cpus=1, scheduling_strategy="SPREAD").remote() for _ in range(3)]
    assert set(get([actor.node.remote() for actor in actors])) == nodes.all


@pytest.mark.parametrize("name", ["head", "one", "two"])
def test_resources_that_one_node_has(nodes, where, Dweller, get, name):
    place = getattr(nodes, name)
    assert get(where.options(resources={name: 1}).remote()) == place
    actor = Dweller.options(resources={name: 1}).remote()
    assert get(actor.node.remote()) == place


def test_as_many_as_the_resource_allows(ray, nodes, get):
    @ray.remote(num_cpus=0, resources={"one": 1})
    def work(number):
        import time

        begin = time.time()
        time.sleep(0.1)
        return begin, time.time()

    spans = get([work.remote(number) for number in range(6)])
    for moment, _ in spans:
        assert sum(begin <= moment < end for begin, end in spans) <= 2


@pytest.mark.parametrize("name", ["head", "one", "two"])
@pytest.mark.parametrize("soft", [True, False])
def test_affinity(nodes, where, Dweller, strategies, get, name, soft):
    place = getattr(nodes, name)
    affinity = strategies.NodeAffinitySchedulingStrategy(place, soft=soft)
    assert get(where.options(scheduling_strategy=affinity).remote()) == place
    actor = Dweller.options(scheduling_strategy=affinity).remote()
    assert get(actor.node.remote()) == place


def test_soft_affinity_to_nobody(nodes, where, strategies, get):
    affinity = strategies.NodeAffinitySchedulingStrategy(NOBODY, soft=True)
    assert get(where.options(scheduling_strategy=affinity).remote()) in nodes.all


def test_affinity_to_nobody(ray, nodes, where, Dweller, strategies, get):
    affinity = strategies.NodeAffinitySchedulingStrategy(NOBODY, soft=False)
    with pytest.raises(ray.exceptions.TaskUnschedulableError):
        get(where.options(scheduling_strategy=affinity).remote())
    actor = Dweller.options(scheduling_strategy=affinity).remote()
    with pytest.raises(ray.exceptions.ActorUnschedulableError):
        get(actor.node.remote())


def test_affinity_waits_for_its_node(ray, nodes, where, meeting, strategies, get):
    """A node that is busy is waited for, though others are idle."""
    idle(ray)
    affinity = strategies.NodeAffinitySchedulingStrategy(nodes.two, soft=False)
    assert set(get(meeting(2, scheduling_strategy=affinity))) == {nodes.two}
    busy = [where.options(scheduling_strategy=affinity).remote() for _ in range(8)]
    assert set(get(busy)) == {nodes.two}


def test_label_selectors(nodes, where, Dweller, get):
    assert get(where.options(label_selector={"zone": "b"}).remote()) == nodes.one
    assert get(where.options(label_selector={"zone": "!in(a,b)"}).remote()) == nodes.two
    actor = Dweller.options(label_selector={"zone": "c"}).remote()
    assert get(actor.node.remote()) == nodes.two


def test_label_strategies(nodes, where, strategies, get):
    def run(hard, soft=None):
        strategy = strategies.NodeLabelSchedulingStrategy(hard, soft=soft or {})
        return get(where.options(scheduling_strategy=strategy).remote())

    assert run({"zone": strategies.In("b")}) == nodes.one
    assert run({"zone": strategies.NotIn("a", "b")}) == nodes.two
    both = strategies.In("a", "b", "c")
    assert run({"zone": both}, soft={"zone": strategies.In("c")}) == nodes.two
    assert run({"zone": both}, soft={"zone": strategies.In("nowhere")}) in nodes.all


def test_a_task_of_a_task_begins_where_its_caller_is(ray, nodes, where, get):
    @ray.remote(num_cpus=0)
    def outer():
        return ray.get(where.remote())

    for name in ("one", "two"):
        assert get(outer.options(resources={name: 1}).remote()) == getattr(nodes, name)


def test_a_task_goes_to_its_large_argument(ray, nodes, where, get):
    make = ray.remote(lambda: bytes(10_000_000))
    for name in ("one", "two"):
        large = make.options(resources={name: 1}).remote()
        ray.wait([large], fetch_local=False)
        # Where there is no room just now, it goes elsewhere.
        idle(ray)
        assert get(where.remote(large)) == getattr(nodes, name)


# ---- placement groups ---------------------------------------------------------------------------


def places(groups, group):
    return list(groups.placement_group_table(group)["bundles_to_node_id"].values())


def test_strict_spread(ray, nodes, groups, strategies, where, get):
    idle(ray)
    group = groups.placement_group([{"CPU": 1}] * 3, strategy="STRICT_SPREAD")
    get(group.ready())
    assert set(places(groups, group)) == nodes.all
    for bundle, place in enumerate(places(groups, group)):
        strategy = strategies.PlacementGroupSchedulingStrategy(group, bundle)
        assert get(where.options(scheduling_strategy=strategy).remote()) == place
    groups.remove_placement_group(group)


def test_actors_in_bundles(ray, nodes, groups, strategies, Dweller, get):
    idle(ray)
    group = groups.placement_group([{"CPU": 1}] * 3, strategy="SPREAD")
    get(group.ready())
    assert set(places(groups, group)) == nodes.all
    strategy = strategies.PlacementGroupSchedulingStrategy
    actors = [
        Dweller.options(num_cpus=1, scheduling_strategy=strategy(group, bundle)).remote()
        for bundle in range(3)
    ]
    assert get([actor.node.remote() for actor in actors]) == places(groups, group)
    del actors
    groups.remove_placement_group(group)


def test_more_spread_bundles_than_nodes(ray, nodes, groups):
    group = groups.placement_group([{"CPU": 1}] * 4, strategy="STRICT_SPREAD")
    assert not group.wait(0.5)
    groups.remove_placement_group(group)


def test_pack(ray, nodes, groups, get):
    idle(ray)
    group = groups.placement_group([{"CPU": 1}] * 2, strategy="PACK")
    get(group.ready())
    assert len(set(places(groups, group))) == 1
    groups.remove_placement_group(group)
    idle(ray)
    group = groups.placement_group([{"CPU": 1}] * 4, strategy="PACK")
    get(group.ready())
    assert len(set(places(groups, group))) == 2
    groups.remove_placement_group(group)


def test_strict_pack(ray, nodes, groups, get):
    idle(ray)
    group = groups.placement_group([{"CPU": 1}, {"CPU": 1, "two": 1}], strategy="STRICT_PACK")
    get(group.ready())
    assert places(groups, group) == [nodes.two] * 2
    groups.remove_placement_group(group)
    too_large = groups.placement_group([{"CPU": 1}] * 3, strategy="STRICT_PACK")
    assert not too_large.wait(0.5)
    groups.remove_placement_group(too_large)


def test_bundles_with_labels(ray, nodes, groups, get):
    idle(ray)
    group = groups.placement_group(
        [{"CPU": 1}, {"CPU": 1}],
        bundle_label_selector=[{"zone": "c"}, {"zone": "b"}],
    )
    get(group.ready())
    assert places(groups, group) == [nodes.two, nodes.one]
    groups.remove_placement_group(group)


def test_tasks_of_a_group_that_wait_for_a_bundle(ray, nodes, groups, strategies, where, get):
    idle(ray)
    group = groups.placement_group([{"CPU": 1}] * 3, strategy="STRICT_SPREAD")
    get(group.ready())
    strategy = strategies.PlacementGroupSchedulingStrategy(
        group, placement_group_capture_child_tasks=True
    )
    ran = get([where.options(scheduling_strategy=strategy).remote() for _ in range(30)])
    assert set(ran) <= nodes.all
    groups.remove_placement_group(group)
    idle(ray)


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"num_cpus": "2"}, AssertionError, "CPU|num_cpus"),
        ({"num_cpus": -1}, ValueError, "nonnegative"),
        ({"num_cpus": 1.5}, ValueError, "whole numbers"),
        ({"resources": {"place": 0.5}}, ValueError, "whole numbers"),
        ({"resources": {"CPU": 1}}, AssertionError, "cannot be a custom resource"),
        ({"object_store_memory": 1000}, ValueError, "minimum"),
    ],
)
def test_amounts_that_no_node_can_have(nodes, arguments, kind, text):
    """Some were taken, and others failed with RuntimeError once the daemon ran."""
    with pytest.raises(kind, match=text):
        nodes.cluster.add_node(**arguments)
    assert len(nodes.cluster.list_all_nodes()) == 3
