"""Placement groups: what they reserve, who may use it, and how they end."""

import pickle

import pytest
from harness.waiting import until

CPUS = 4

pytestmark = [
    pytest.mark.cluster(num_cpus=CPUS, num_gpus=2, resources={"custom": 10}),
    pytest.mark.usefixtures("cluster"),
]


@pytest.fixture
def make(ray):
    """Creates groups that are removed after the test."""
    from importlib import import_module

    module = import_module(f"{ray.__name__}.util.placement_group")
    made = []

    def make(*args, **kwargs):
        made.append(module.placement_group(*args, **kwargs))
        return made[-1]

    yield make
    for group in made:
        module.remove_placement_group(group)
    until(lambda: ray.available_resources().get("CPU") == CPUS, "the CPUs come back")


@pytest.fixture
def inside(ray):
    """The strategy that places something into a group."""
    from importlib import import_module

    strategies = import_module(f"{ray.__name__}.util.scheduling_strategies")
    return strategies.PlacementGroupSchedulingStrategy


@pytest.fixture(scope="module")
def where(ray):
    @ray.remote
    def where():
        context = ray.get_runtime_context()
        return context.get_placement_group_id(), context.get_assigned_resources()

    return where


@pytest.fixture(scope="module")
def member_class(ray):
    @ray.remote
    class Member:
        def where(self):
            context = ray.get_runtime_context()
            return context.get_placement_group_id(), context.get_assigned_resources()

        def block(self):
            import time

            time.sleep(1000)

    return Member


def test_a_group_says_what_it_is(ray, make, get):
    group = make([{"CPU": 1}, {"CPU": 2, "custom": 1}])
    assert group.wait(60)
    assert group.bundle_specs == [{"CPU": 1.0}, {"CPU": 2.0, "custom": 1.0}]
    assert group.bundle_count == 2
    assert not group.is_empty
    ready = get(group.ready())
    assert ready == group and hash(ready) == hash(group)
    copy = pickle.loads(pickle.dumps(group))
    assert copy == group and copy.bundle_specs == group.bundle_specs
    assert len(group.id.hex()) == 36
    assert repr(group.id) == f"PlacementGroupID({group.id.hex()})"


def test_the_table_tells_all_of_a_group(ray, make):
    group = make([{"CPU": 1}, {"CPU": 2}], "SPREAD", "in the table")
    assert group.wait(60)
    table = ray.util.placement_group_table(group)
    node = ray.nodes()[0]["NodeID"]
    stats = table.pop("stats")
    assert table == {
        "placement_group_id": group.id.hex(),
        "name": "in the table",
        "bundles": {0: {"CPU": 1.0}, 1: {"CPU": 2.0}},
        "bundles_to_node_id": {0: node, 1: node},
        "strategy": "SPREAD",
        "state": "CREATED",
    }
    assert set(stats) == {
        "end_to_end_creation_latency_ms",
        "scheduling_latency_ms",
        "scheduling_attempt",
        "highest_retry_delay_ms",
        "scheduling_state",
    }
    assert stats["scheduling_state"] == "FINISHED"
    assert ray.util.placement_group_table()[group.id.hex()]["name"] == "in the table"


def test_what_is_reserved_is_nobody_elses(ray, make):
    group = make([{"CPU": 1}, {"CPU": 2, "custom": 1}])
    assert group.wait(60)
    name = group.id.hex()
    until(lambda: f"CPU_group_{name}" in ray.available_resources(), "three CPUs are reserved")
    resources = ray.available_resources()
    assert resources["CPU"] == 1
    assert resources["custom"] == 9
    assert resources[f"CPU_group_{name}"] == 3
    assert resources[f"CPU_group_0_{name}"] == 1
    assert resources[f"CPU_group_1_{name}"] == 2
    assert resources[f"bundle_group_{name}"] == 2000
    until(lambda: f"CPU_group_{name}" in ray.cluster_resources(), "the totals have them, too")
    total = ray.cluster_resources()
    assert total["CPU"] == CPUS
    reserved = {name: amount for name, amount in resources.items() if "_group_" in name}
    assert {name: amount for name, amount in total.items() if "_group_" in name} == reserved
    ray.util.remove_placement_group(group)
    until(lambda: ray.available_resources().get("CPU") == CPUS, "the CPUs come back")
    until(
        lambda: not [name for name in ray.cluster_resources() if "_group_" in name],
        "nothing is reserved",
    )
    assert not [name for name in ray.available_resources() if "_group_" in name]


def test_tasks_and_actors_run_inside(ray, make, inside, where, member_class, get):
    group = make([{"CPU": 1}, {"CPU": 2}])
    name = group.id.hex()
    for options in (
        {"scheduling_strategy": inside(group)},
        {"scheduling_strategy": inside(group, 1)},
        {"placement_group": group},
        {"placement_group": group, "placement_group_bundle_index": 0},
    ):
        assert get(where.options(**options).remote()) == (name, {"CPU": 1})
    actor = member_class.options(scheduling_strategy=inside(group, 1), num_cpus=2).remote()
    assert get(actor.where.remote()) == (name, {"CPU": 2})
    until(
        lambda: ray.available_resources().get(f"CPU_group_{name}") == 1, "two of three are in use"
    )
    idle = member_class.options(placement_group=group).remote()
    assert get(idle.where.remote()) == (name, {})
    assert get(where.options(placement_group=None).remote()) == (None, {"CPU": 1})
    ray.kill(actor)
    until(lambda: ray.available_resources().get(f"CPU_group_{name}") == 3, "they come back")


def test_a_bundle_serves_no_more_than_it_has(ray, make, get):
    group = make([{"CPU": 1}])

    @ray.remote(num_cpus=0)
    class Gate:
        def __init__(self):
            self.open, self.inside, self.most = False, 0, 0

        def enter(self):
            self.inside += 1
            self.most = max(self.most, self.inside)

        def leave(self):
            self.inside -= 1

        def most_inside(self):
            return self.most

    @ray.remote
    def pass_through(gate):
        ray.get(gate.enter.remote())
        ray.get(gate.leave.remote())

    gate = Gate.remote()
    through = pass_through.options(placement_group=group, num_cpus=1)
    get([through.remote(gate) for _ in range(20)])
    assert get(gate.most_inside.remote()) >= 1


def test_the_current_group(ray, make, get):
    @ray.remote
    def current():
        found = ray.util.get_current_placement_group()
        return None if found is None else (found.id.hex(), found.bundle_specs)

    group = make([{"CPU": 1}])
    assert ray.util.get_current_placement_group() is None
    assert get(current.remote()) is None
    expected = (group.id.hex(), [{"CPU": 1.0}])
    assert get(current.options(placement_group=group).remote()) == expected


def test_children_go_into_the_group_where_it_catches_them(ray, make, inside, get):
    @ray.remote(num_cpus=0)
    def child():
        return ray.get_runtime_context().get_placement_group_id()

    @ray.remote
    def parent():
        return get(
            [
                child.remote(),
                child.options(placement_group=None).remote(),
                child.options(scheduling_strategy="DEFAULT").remote(),
            ]
        )

    group = make([{"CPU": 1}])
    name = group.id.hex()
    for captures, expected in ((None, None), (False, None), (True, name)):
        strategy = inside(group, placement_group_capture_child_tasks=captures)
        found = get(parent.options(scheduling_strategy=strategy).remote())
        assert found == [expected, None, None]


def test_actors_hand_the_group_down(ray, make, get):
    @ray.remote(num_cpus=0)
    def leaf():
        return ray.get_runtime_context().get_placement_group_id()

    @ray.remote(num_cpus=0)
    def middle():
        return get(leaf.remote())

    @ray.remote(num_cpus=0)
    class Root:
        def ask(self):
            return get(middle.remote())

    group = make([{"CPU": 1}])
    root = Root.options(placement_group=group, placement_group_capture_child_tasks=True).remote()
    assert get(root.ask.remote()) == group.id.hex()


def test_gpus_of_a_group(ray, make, get):
    @ray.remote(num_cpus=0)
    def gpus():
        return ray.get_gpu_ids()

    group = make([{"GPU": 1}, {"GPU": 1}])
    assert group.wait(60)
    one, other = (
        get(
            gpus.options(
                placement_group=group, placement_group_bundle_index=index, num_gpus=1
            ).remote()
        )
        for index in (0, 1)
    )
    assert len(one) == len(other) == 1 and one != other


def test_names(ray, make):
    group = make([{"CPU": 1}], name="named")
    found = ray.util.get_placement_group("named")
    assert found == group and found.bundle_specs == [{"CPU": 1.0}]
    with pytest.raises(ray.exceptions.RaySystemError, match="name 'named' already exists"):
        make([{"CPU": 1}], name="named")
    ray.util.remove_placement_group(group)
    with pytest.raises(ValueError, match="Failed to look up placement group with name: named"):
        ray.util.get_placement_group("named")
    with pytest.raises(ValueError, match="non-empty"):
        ray.util.get_placement_group("")
    assert make([{"CPU": 1}], name="named") != group


def test_a_group_waits_for_room(ray, make, get):
    first = make([{"CPU": 3}])
    assert first.wait(60)
    second = make([{"CPU": 2}])
    assert not second.wait(0.1)
    assert ray.util.placement_group_table(second)["state"] == "PENDING"
    ray.util.remove_placement_group(first)
    assert second.wait(60)
    assert get(second.ready()) == second


def test_a_group_that_fits_nowhere_stays_pending(ray, make):
    group = make([{"CPU": 100}])
    assert not group.wait(0.5)
    table = ray.util.placement_group_table(group)
    assert table["state"] == "PENDING" and table["bundles_to_node_id"] == {0: ""}
    until(
        lambda: ray.util.placement_group_table(group)["stats"]["scheduling_state"] == "INFEASIBLE",
        "it is known to be infeasible",
    )
    strict = make([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
    assert not strict.wait(0.5)
    packed = make([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_PACK")
    assert packed.wait(60)


def test_ready_is_an_object_like_others(ray, make, get):
    @ray.remote(num_cpus=0)
    def name_of(group):
        return group.id.hex()

    blocker = make([{"CPU": CPUS}])
    assert blocker.wait(60)
    group = make([{"CPU": 1}])
    ready = group.ready()
    named = name_of.remote(ready)
    assert ray.wait([ready], timeout=0.1) == ([], [ready])
    ray.util.remove_placement_group(blocker)
    assert get(named) == group.id.hex()


def test_a_task_may_wait_for_a_group_of_its_driver(ray, make, get):
    @ray.remote(num_cpus=0)
    def wait_for(group):
        return group.wait(60), ray.util.placement_group_table(group)["state"]

    assert get(wait_for.remote(make([{"CPU": 1}]))) == (True, "CREATED")


def test_removal_ends_what_is_inside(ray, make, inside, member_class, get, tmp_path):
    started = tmp_path / "started"

    @ray.remote(max_retries=0)
    def sleep():
        import time

        started.touch()
        time.sleep(1000)

    group = make([{"CPU": 1}, {"CPU": 1}])
    actor = member_class.options(placement_group=group, num_cpus=1).remote()
    get(actor.where.remote())
    running = sleep.options(placement_group=group).remote()
    until(started.exists, "the task runs")
    queued = sleep.options(placement_group=group).remote()
    call = actor.block.remote()
    ray.util.remove_placement_group(group)
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        get(running)
    with pytest.raises(ray.exceptions.TaskPlacementGroupRemoved, match="has been removed"):
        get(queued)
    with pytest.raises(ray.exceptions.ActorDiedError, match="placement group was removed"):
        get(call)
    assert ray.util.placement_group_table(group)["state"] == "REMOVED"
    until(lambda: ray.available_resources().get("CPU") == CPUS, "all of it comes back")


def test_those_who_wait_for_a_group_hear_of_its_end(ray, make, get):
    group = make([{"CPU": 100}])
    ready = group.ready()
    assert not group.wait(0.1)
    ray.util.remove_placement_group(group)
    with pytest.raises(ray.exceptions.TaskPlacementGroupRemoved):
        get(ready)
    with pytest.raises(Exception, match="does not exist"):
        group.wait(10)
    ray.util.remove_placement_group(group)


def test_an_actor_that_waits_for_room_in_a_removed_group(ray, make, member_class, get):
    group = make([{"CPU": 1}])
    first, second = (
        member_class.options(placement_group=group, num_cpus=1).remote() for _ in range(2)
    )
    get(first.where.remote())
    call = second.where.remote()
    ray.util.remove_placement_group(group)
    with pytest.raises(ray.exceptions.ActorUnschedulableError, match="placement group was removed"):
        get(call)


@pytest.mark.whipray_only
def test_nobody_waits_for_a_group_that_was_never_created(ray, make, member_class, where, get):
    group = make([{"CPU": 100}])
    actor = member_class.options(placement_group=group, num_cpus=1).remote()
    calls = [actor.where.remote(), where.options(placement_group=group).remote()]
    ray.util.remove_placement_group(group)
    with pytest.raises(ray.exceptions.ActorUnschedulableError):
        get(calls[0])
    with pytest.raises(ray.exceptions.TaskPlacementGroupRemoved):
        get(calls[1])


@pytest.mark.whipray_only
def test_an_actor_does_not_restart_without_its_group(ray, make, member_class, get):
    group = make([{"CPU": 1}])
    actor = member_class.options(placement_group=group, num_cpus=1, max_restarts=-1).remote()
    get(actor.where.remote())
    ray.util.remove_placement_group(group)
    with pytest.raises(ray.exceptions.ActorDiedError, match="placement group was removed"):
        get(actor.block.remote())


@pytest.mark.whipray_only
def test_what_is_submitted_to_a_removed_group_fails_at_once(ray, make, member_class, where, get):
    group = make([{"CPU": 1}])
    assert group.wait(60)
    ray.util.remove_placement_group(group)
    with pytest.raises(ray.exceptions.TaskPlacementGroupRemoved):
        get(where.options(placement_group=group).remote())
    with pytest.raises(ray.exceptions.ActorUnschedulableError):
        get(member_class.options(placement_group=group).remote().where.remote())


@pytest.mark.whipray_only
def test_a_task_that_removal_meets_is_not_tried_without_its_group(ray, make, get, tmp_path):
    started = tmp_path / "started"

    @ray.remote(max_retries=5)
    def sleep():
        import time

        started.touch()
        time.sleep(1000)

    group = make([{"CPU": 1}])
    running = sleep.options(placement_group=group).remote()
    until(started.exists, "the task runs")
    ray.util.remove_placement_group(group)
    with pytest.raises(ray.exceptions.TaskPlacementGroupRemoved):
        get(running)


def test_a_group_outlives_the_actor_that_created_it(ray, make, get):
    @ray.remote(num_cpus=0)
    class Creator:
        def create(self):
            group = ray.util.placement_group([{"custom": 1}])
            assert group.wait(60)
            return group

    creator = Creator.remote()
    group = get(creator.create.remote())
    ray.kill(creator)
    with pytest.raises(ray.exceptions.RayActorError):
        get(creator.create.remote())
    assert ray.util.placement_group_table(group)["state"] == "CREATED"
    ray.util.remove_placement_group(group)


def test_no_group_at_all(ray):
    from importlib import import_module

    empty = import_module(f"{ray.__name__}.util.placement_group").PlacementGroup.empty()
    assert empty.is_empty and empty.id.is_nil()


def test_many_groups_at_once(ray, make):
    groups = [make([{"custom": 0.01}]) for _ in range(200)]
    assert all(group.wait(60) for group in groups)
    for group in groups:
        ray.util.remove_placement_group(group)
    until(lambda: ray.available_resources().get("custom") == 10, "all of it comes back")
