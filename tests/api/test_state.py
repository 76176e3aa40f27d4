"""`ray.util.state`: what is in the cluster now."""

import importlib
import os

import pytest
from harness.waiting import until

pytestmark = [
    pytest.mark.cluster(num_cpus=1),
    pytest.mark.usefixtures("cluster"),
    # Ray answers from its dashboard, which these tests start it without.
    pytest.mark.whipray_only,
]


@pytest.fixture(scope="module")
def state(engine, ray):
    return importlib.import_module(f"{engine.name}.util.state")


@pytest.fixture(scope="module")
def Holder(ray):
    @ray.remote
    class Holder:
        def hold(self, references):
            self.references = references

        def die(self):
            os._exit(3)

    return Holder


def test_actors_with_their_typed_cause_of_death(ray, get, state, Holder):
    holder = Holder.options(name="keeper").remote()
    get(holder.hold.remote([]))
    (row,) = state.list_actors(filters=[("name", "=", "keeper")])
    assert (row.state, row.class_name, row["actor_id"]) == ("ALIVE", "Holder", row.actor_id)
    assert row.pid > 0 and row.death_cause is None and row.is_detached is None
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(holder.die.remote())
    dead = until(
        lambda: next((it for it in [state.get_actor(row.actor_id)] if it.state == "DEAD"), None),
        "the actor is dead",
    )
    assert (dead.death_cause["kind"], dead.death_cause["exit_code"]) == ("Exited", 3)
    assert state.list_actors(filters=[("state", "!=", "DEAD"), ("name", "=", "keeper")]) == []
    summary = state.summarize_actors()["cluster"]["summary"]["Holder"]
    assert summary["state_counts"]["DEAD"] >= 1


def test_tasks_by_where_they_stand(ray, get, state, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote
    def held(*_):
        import time

        while not gate.exists():
            time.sleep(0.01)

    first = held.remote()
    until(lambda: (state.get_task(first) or first).state == "RUNNING", "the first task runs")
    second = held.remote()
    third = held.remote(first)
    states = {row.task_id: row.state for row in state.list_tasks(filters=[("name", "=", "held")])}
    assert states == {
        first.task_id().hex(): "RUNNING",
        second.task_id().hex(): "PENDING_NODE_ASSIGNMENT",
        third.task_id().hex(): "PENDING_ARGS_AVAIL",
    }
    row = state.get_task(first.task_id().hex())
    assert (row.type, row.required_resources) == ("NORMAL_TASK", {"CPU": 1.0})
    assert row.worker_pid in {worker.pid for worker in state.list_workers()}
    counts = state.summarize_tasks()["cluster"]["summary"]["held"]["state_counts"]
    assert counts["RUNNING"] == 1
    gate.touch()
    get([first, second, third])
    states = {row.state for row in state.list_tasks(filters=[("name", "=", "held")])}
    assert states == {"FINISHED"}


def test_tasks_that_are_through(ray, get, state):
    @ray.remote
    def through():
        return 1

    @ray.remote
    def raises():
        raise ValueError("no")

    @ray.remote(max_retries=0)
    def dies():
        os._exit(3)

    references = [task.remote() for task in (through, raises, dies)]
    ray.wait(references, num_returns=3)
    rows = [state.get_task(reference) for reference in references]
    assert [(row.name, row.state, row.error_type) for row in rows] == [
        ("through", "FINISHED", None),
        ("raises", "FAILED", "TASK_EXECUTION_EXCEPTION"),
        ("dies", "FAILED", "WORKER_DIED"),
    ]
    ran = rows[0]
    assert ran.creation_time_ms <= ran.start_time_ms <= ran.end_time_ms
    assert ran.worker_id and ran.node_id == state.list_nodes()[0].node_id


def test_objects_by_who_holds_them(ray, get, state, Holder):
    reference = ray.put(b"x" * 200_000)
    captured = ray.put([reference])
    holder = Holder.remote()
    get(holder.hold.remote([reference]))
    rows = state.get_objects(reference.hex())
    assert {row.type for row in rows} == {"DRIVER", "WORKER"}
    assert all(row.object_size >= 200_000 for row in rows)
    (own,) = (row for row in rows if row.type == "DRIVER")
    assert (own.reference_type, own.pid) == ("PINNED_IN_MEMORY", os.getpid())
    (other,) = state.get_objects(captured.hex())
    assert other.reference_type == "LOCAL_REFERENCE"
    assert state.summarize_objects()["cluster"]["total_objects"] >= 3


def test_nodes_jobs_and_workers(ray, state):
    (node,) = state.list_nodes()
    assert node.is_head_node and node.state == "ALIVE" and node.resources_total["CPU"] == 1
    assert state.get_node(node.node_id) == node
    (job,) = state.list_jobs()
    assert (job.status, job.driver_info["pid"]) == ("RUNNING", str(os.getpid()))
    kinds = {worker.worker_type for worker in state.list_workers()}
    assert "DRIVER" in kinds


def test_limits_filters_and_what_is_wrong_with_them(ray, get, state, Holder):
    holders = [Holder.remote() for _ in range(3)]
    get([holder.hold.remote([]) for holder in holders])
    assert len(state.list_actors(limit=2)) == 2
    (one,) = state.list_actors(limit=1, detail=True, filters=[("state", "=", "alive")])
    assert one.num_restarts == 0 and one.is_detached is False
    exceptions = importlib.import_module(f"{state.__name__}.exception")
    with pytest.raises(exceptions.RayStateApiException, match="cannot be filtered by"):
        state.list_actors(filters=[("colour", "=", "blue")])
    with pytest.raises(ValueError, match="Unsupported filter predicate"):
        state.list_actors(filters=[("state", "<", "ALIVE")])
    with pytest.raises(ValueError, match="Unsupported filter predicate"):
        state.list_placement_groups(filters=[("state", "<", "CREATED")])
    with pytest.raises(exceptions.RayStateApiException, match="exceeds the supported limit"):
        state.list_actors(limit=100_000)


def test_columns_of_ray(ray, state):
    """They raised AttributeError where this engine had nothing to say in them."""
    group = ray.util.placement_group([{"CPU": 1}])
    assert group.wait(60)
    row = state.get_placement_group(group.id.hex())
    assert row.bundles == [
        {
            "bundle_id": {"placement_group_id": group.id.hex(), "bundle_index": 0},
            "unit_resources": {"CPU": 1},
            "node_id": ray.get_runtime_context().get_node_id(),
        }
    ]
    assert row.is_detached is False and row.stats["scheduling_state"] == "FINISHED"
    assert state.list_placement_groups()[0].stats is None
    ray.util.remove_placement_group(group)
    (job,) = state.list_jobs()
    assert job.runtime_env == {} and job.submission_id is None
    (node,) = state.list_nodes(detail=True)
    assert node.end_time_ms is None
