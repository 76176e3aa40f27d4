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
    cause = dead.death_cause["actor_died_error_context"]
    assert (cause["kind"], cause["exit_code"], cause["reason"]) == ("Exited", 3, "WORKER_DIED")
    assert cause["class_name"] == "Holder" and "exited with code 3" in cause["error_message"]
    assert dead.node_id == row.node_id and dead.pid == row.pid
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
    assert (own.reference_type, own.pid) == ("LOCAL_REFERENCE", os.getpid())
    value = get(reference)
    assert len(value) == 200_000
    (other,) = state.get_objects(captured.hex())
    assert other.reference_type == "LOCAL_REFERENCE"
    assert state.summarize_objects()["cluster"]["total_objects"] >= 3


def test_nodes_jobs_and_workers(ray, state):
    (node,) = state.list_nodes()
    assert node.is_head_node and node.state == "ALIVE" and node.resources_total["CPU"] == 1
    assert [state.get_node(node.node_id)] == state.list_nodes(detail=True)
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
            "label_selector": {},
        }
    ]
    assert row.is_detached is False and row.stats["scheduling_state"] == "FINISHED"
    assert state.list_placement_groups()[0].stats is None
    ray.util.remove_placement_group(group)
    (job,) = state.list_jobs()
    assert job.runtime_env is None and job.submission_id is None
    (node,) = state.list_nodes(detail=True)
    assert node.end_time_ms is None and node.start_time_ms > 0
    (job,) = state.list_jobs(detail=True)
    assert job.runtime_env == {} and job.start_time > 0 and job.end_time is None
    assert job.driver_info["node_ip_address"] == node.node_ip


def test_views_of_large_values_pin_them(ray, get, state):
    numpy = pytest.importorskip("numpy")
    reference = ray.put(numpy.zeros(100_000))
    assert state.get_objects(reference.hex())[0].reference_type == "LOCAL_REFERENCE"
    view = get(reference)
    assert state.get_objects(reference.hex())[0].reference_type == "PINNED_IN_MEMORY"
    assert view.nbytes == 800_000


def test_tasks_that_create_actors(ray, get, state, Holder):
    """They were not in the list, or, while their arguments were missing, as plain tasks."""

    @ray.remote
    class Broken:
        def __init__(self):
            raise RuntimeError("not today")

        def call(self):
            pass

    holder = Holder.options(name="creation").remote()
    get(holder.hold.remote([]))
    broken = Broken.remote()
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(broken.call.remote())
    (made,) = state.list_tasks(filters=[("actor_id", "=", holder._actor_id.hex())], limit=1)
    assert made.type in ("ACTOR_CREATION_TASK", "ACTOR_TASK")
    (made,) = state.list_tasks(filters=[("name", "=", "creation:Holder.__init__")], detail=True)
    assert (made.state, made.type, made.error_type) == ("FINISHED", "ACTOR_CREATION_TASK", None)
    assert made.func_or_class_name == "Holder.__init__" and made.node_id and made.worker_pid
    assert 0 < made.creation_time_ms <= made.start_time_ms + 1 <= made.end_time_ms + 1
    assert [event["state"] for event in made.events] == [
        "PENDING_ARGS_AVAIL",
        "RUNNING",
        "FINISHED",
    ]
    (failed,) = state.list_tasks(filters=[("name", "=", "Broken.__init__")])
    assert (failed.state, failed.error_type) == ("FAILED", "TASK_EXECUTION_EXCEPTION")
    cause = state.get_actor(broken._actor_id.hex()).death_cause
    assert list(cause) == ["creation_task_failure_context"]


def test_tasks_by_the_names_of_their_functions(ray, get, state):
    """What was called otherwise by ``options(name=...)`` had no other name."""

    @ray.remote
    def original():
        raise ValueError("no such luck")

    reference = original.options(name="alias").remote()
    with pytest.raises(ValueError):
        get(reference)
    row = state.get_task(reference)
    assert (row.name, row.func_or_class_name) == ("alias", "original")
    assert row.error_message.startswith("User exception:") and "no such luck" in row.error_message
    assert [event["state"] for event in row.events] == ["PENDING_ARGS_AVAIL", "RUNNING", "FAILED"]
    summary = state.summarize_tasks()["cluster"]["summary"]["alias"]
    assert summary["state_counts"] == {"FAILED": 1}


def test_actors_in_detail(ray, get, state):
    @ray.remote(num_cpus=0)
    class Shown:
        def __repr__(self):
            return "Shown as this"

        def ready(self):
            return True

    group = ray.util.placement_group([{"CPU": 1}])
    place = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(group)
    actor = Shown.options(
        runtime_env={"env_vars": {"COLOUR": "blue"}}, scheduling_strategy=place
    ).remote()
    get(actor.ready.remote())
    row = state.get_actor(actor._actor_id.hex())
    assert row.repr_name == "Shown as this"
    assert row.placement_group_id == group.id.hex()
    assert "COLOUR" in row.serialized_runtime_env
    (environment,) = state.list_runtime_envs(detail=True)
    assert environment.runtime_env == {"env_vars": {"COLOUR": "blue"}}
    assert (environment.success, environment.ref_cnt) == (True, 1)
    ray.util.remove_placement_group(group)


def test_workers_that_have_ended(ray, get, state):
    @ray.remote(max_retries=0)
    def dies():
        os._exit(7)

    with pytest.raises(ray.exceptions.WorkerCrashedError):
        get(dies.remote())
    rows = until(
        lambda: [
            row
            for row in state.list_workers(filters=[("is_alive", "=", "false")], detail=True)
            if "code 7" in row.exit_detail
        ],
        "the worker is listed as ended",
    )
    assert [(row.exit_type, row.worker_type) for row in rows] == [("SYSTEM_ERROR", "WORKER")]
    assert rows[0].pid > 0 and rows[0].end_time_ms > 0
    alive = state.list_workers(filters=[("is_alive", "=", True)], detail=True)
    assert all(row.exit_type is None and row.debugger_port is None for row in alive)
    assert all(row.start_time_ms > 0 for row in alive if row.worker_type == "WORKER")


def test_each_try_of_a_task_has_a_row(ray, get, state, tmp_path):
    """Only the last one was told, and not where a worker had died of it."""

    @ray.remote(max_retries=2, retry_exceptions=[ValueError])
    def third_time_lucky():
        tries = len(list(tmp_path.iterdir()))
        (tmp_path / str(tries)).touch()
        if tries == 0:
            os._exit(3)
        if tries == 1:
            raise ValueError("not yet")
        return os.getpid()

    reference = third_time_lucky.remote()
    get(reference)
    crashed, raised, returned = state.get_task(reference)
    assert [row.attempt_number for row in (crashed, raised, returned)] == [0, 1, 2]
    assert (crashed.state, crashed.error_type) == ("FAILED", "WORKER_DIED")
    assert "exited with code 3" in crashed.error_message and "tried again" in crashed.error_message
    assert crashed.node_id and crashed.worker_id and crashed.worker_pid
    assert crashed.start_time_ms is None and crashed.end_time_ms > 0
    assert (raised.state, raised.error_type) == ("FAILED", "TASK_EXECUTION_EXCEPTION")
    assert "not yet" in raised.error_message
    assert (returned.state, returned.worker_pid) == ("FINISHED", get(reference))
    listed = state.list_tasks(filters=[("name", "=", "third_time_lucky")])
    assert [row.attempt_number for row in listed] == [0, 1, 2]
    summary = state.summarize_tasks()["cluster"]["summary"]["third_time_lucky"]
    assert summary["state_counts"] == {"FAILED": 2, "FINISHED": 1}
    with pytest.raises(Exception, match="There is no attempt 3 of task_id"):
        list(state.get_log(task_id=crashed.task_id, attempt_number=3))


def test_tries_of_calls_of_actors(ray, get, state, tmp_path):
    @ray.remote(max_restarts=1, max_task_retries=1)
    class Actor:
        def end_once(self):
            if not (tmp_path / "once").exists():
                (tmp_path / "once").touch()
                os._exit(5)

    reference = Actor.remote().end_once.remote()
    get(reference)
    first, second = state.get_task(reference)
    assert (first.state, first.error_type) == ("FAILED", "ACTOR_UNAVAILABLE")
    assert "tried again" in first.error_message and first.worker_pid
    assert (second.state, second.attempt_number) == ("FINISHED", 1)


def test_logs_of_actors_and_nodes(ray, get, state):
    @ray.remote(num_cpus=0)
    class Writer:
        def write(self, text):
            print(text, flush=True)

    writer = Writer.remote()
    for number in range(5):
        get(writer.write.remote(f"line {number}"))
    node = ray.get_runtime_context().get_node_id()
    identity = writer._actor_id.hex()
    until(
        lambda: "line 4" in "".join(state.get_log(actor_id=identity)), "what was written is there"
    )
    assert "".join(state.get_log(actor_id=identity, tail=2)) == "line 3\nline 4\n"
    assert b"".join(state.get_log(actor_id=identity, tail=0, encoding=None)) == b""
    pid = state.get_actor(identity).pid
    assert "line 0" in "".join(state.get_log(pid=pid, node_id=node))
    files = state.list_logs(node_id=node)
    assert files["raylet"] and files["worker_out"]
    (name,) = state.list_logs(node_id=node, glob_filter=f"*-{pid}.out")["worker_out"]
    assert "line 1" in "".join(state.get_log(filename=name, node_id=node))
    exceptions = importlib.import_module(f"{state.__name__}.exception")
    with pytest.raises(exceptions.RayStateApiException, match="no log file"):
        list(state.get_log(filename="../token", node_id=node))
    with pytest.raises(AssertionError, match="node ip and node id"):
        state.list_logs()
    with pytest.raises(ValueError, match="which log"):
        list(state.get_log())


def test_a_log_is_read_in_pieces(ray, get, state):
    """A character that lies across two of them was an error."""

    @ray.remote(num_cpus=0)
    class Writer:
        def write(self):
            print("\u20ac" * (1 << 20), flush=True)

    writer = Writer.remote()
    get(writer.write.remote())
    identity = writer._actor_id.hex()
    log = "".join(state.get_log(actor_id=identity))
    assert log.count("\u20ac") == 1 << 20 and log.endswith("\n")


def test_orders_and_malformed_questions(ray, state):
    rows = state.list_tasks(limit=10_000)
    assert [row.task_id for row in rows] == sorted(row.task_id for row in rows)
    exceptions = importlib.import_module(f"{state.__name__}.exception")
    with pytest.raises(exceptions.RayStateApiException, match="Invalid actor state"):
        state.list_actors(filters=[("state", "=", "LIVING")])
    with pytest.raises(ValueError):
        state.list_actors(filters=[("state", "ALIVE")])
    with pytest.raises(exceptions.RayStateApiException, match="not supported"):
        # Also where there is nothing to filter.
        state.list_runtime_envs(filters=[("colour", "=", "blue")])


def test_the_client(ray, get, state, Holder):
    common = importlib.import_module(f"{state.__name__}.common")
    holder = Holder.options(name="asked by the client").remote()
    get(holder.hold.remote([]))
    client = state.StateApiClient()
    options = common.ListApiOptions(filters=[("name", "=", "asked by the client")], detail=True)
    (row,) = client.list(common.StateResource.ACTORS, options, raise_on_missing_output=True)
    assert row.num_restarts == 0
    identity = row.actor_id
    assert client.get(common.StateResource.ACTORS, identity, common.GetApiOptions()) == row
    assert client.list(common.StateResource.NODES) == state.list_nodes()
    summary = client.summary(common.SummaryResource.ACTORS, options=common.SummaryApiOptions())
    assert summary == state.summarize_actors()
