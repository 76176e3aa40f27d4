"""What is said of a cluster of several nodes."""

import importlib
import os

import pytest
from harness.waiting import until

pytestmark = pytest.mark.usefixtures("nodes")


@pytest.fixture(scope="module")
def state(engine):
    return importlib.import_module(f"{engine.name}.util.state")


def on(name):
    return {"resources": {name: 1}}


def test_nodes(ray, nodes):
    entries = {entry["NodeID"]: entry for entry in ray.nodes()}
    assert set(entries) == nodes.all
    for name in ("head", "one", "two"):
        entry = entries[getattr(nodes, name)]
        assert entry["Alive"] is True and entry["alive"] is True
        assert entry["Resources"]["CPU"] == 2.0
        assert entry["Resources"][name] == 2.0
        assert entry["Labels"]["ray.io/node-id"] == entry["NodeID"]
        assert entry["Labels"]["zone"] == {"head": "a", "one": "b", "two": "c"}[name]
        assert entry["NodeManagerPort"] > 0
        is_head = "node:__internal_head__" in entry["Resources"]
        assert is_head == (name == "head")
    ports = {entry["NodeManagerPort"] for entry in entries.values()}
    sockets = {entry["RayletSocketName"] for entry in entries.values()}
    assert len(ports) == len(sockets) == 3


def test_sums_of_resources(ray, nodes, get):
    total = ray.cluster_resources()
    assert total["CPU"] == 6.0
    assert total["head"] == total["one"] == total["two"] == 2.0
    address = ray.nodes()[0]["NodeManagerAddress"]
    assert total[f"node:{address}"] == 3.0
    assert total["object_store_memory"] == sum(
        node["Resources"]["object_store_memory"] for node in ray.nodes()
    )


def test_what_is_free(ray, nodes, get, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote
    def hold():
        import time

        while not gate.exists():
            time.sleep(0.01)

    def free(name):
        return ray.available_resources().get(name, 0.0)

    until(lambda: free("CPU") == 6.0, "nothing runs")
    held = [hold.options(**on("one")).remote(), hold.options(**on("two")).remote()]
    until(lambda: free("CPU") == 4.0 and free("one") == free("two") == 1.0, "two tasks run")
    gate.touch()
    get(held)
    until(lambda: free("CPU") == 6.0 and free("one") == free("two") == 2.0, "all is free again")


def test_context(ray, nodes, get):
    @ray.remote(num_cpus=0)
    def context():
        context = ray.get_runtime_context()
        return {
            "node": context.get_node_id(),
            "job": context.get_job_id(),
            "worker": context.get_worker_id(),
            "labels": context.get_node_labels(),
            "ip": ray.util.get_node_ip_address(),
            "pid": os.getpid(),
        }

    own = ray.get_runtime_context()
    assert own.get_node_id() == nodes.head
    told = [get(context.options(**on(name)).remote()) for name in ("one", "two")]
    assert [each["node"] for each in told] == [nodes.one, nodes.two]
    assert {each["job"] for each in told} == {own.get_job_id()}
    assert [each["labels"]["zone"] for each in told] == ["b", "c"]
    assert told[0]["worker"] != told[1]["worker"] and told[0]["pid"] != told[1]["pid"]


def test_resources_per_node(ray, nodes):
    state = importlib.import_module(f"{ray.__name__}._private.state")
    totals = state.total_resources_per_node()
    assert set(totals) == nodes.all
    assert totals[nodes.one]["one"] == 2.0 and "one" not in totals[nodes.two]
    until(lambda: state.available_resources_per_node()[nodes.two].get("CPU") == 2.0, "two is free")


# Ray answers the following from its dashboard, which these tests start it without.


@pytest.mark.whipray_only
def test_list_nodes(nodes, state):
    rows = {row.node_id: row for row in state.list_nodes()}
    assert set(rows) == nodes.all
    assert [rows[each].is_head_node for each in (nodes.head, nodes.one)] == [True, False]
    assert {row.state for row in rows.values()} == {"ALIVE"}
    assert rows[nodes.two].resources_total["two"] == 2.0
    assert rows[nodes.two].labels["zone"] == "c"
    assert state.get_node(nodes.one).node_id == nodes.one
    assert [row.node_id for row in state.list_nodes(filters=[("is_head_node", "=", "True")])] == [
        nodes.head
    ]


@pytest.mark.whipray_only
def test_list_actors(ray, nodes, state, Dweller, get):
    actors = [Dweller.options(name=name, **on(name)).remote() for name in ("one", "two")]
    processes = get([actor.process.remote() for actor in actors])
    for name, process in zip(("one", "two"), processes):
        (row,) = state.list_actors(filters=[("name", "=", name), ("state", "=", "ALIVE")])
        assert (row.node_id, row.pid) == (getattr(nodes, name), process)
        (row,) = state.list_actors(
            filters=[("node_id", "=", getattr(nodes, name)), ("state", "=", "ALIVE")]
        )
        assert row.name == name


@pytest.mark.whipray_only
def test_list_tasks(ray, nodes, state, get, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote(num_cpus=0)
    def held():
        import time

        while not gate.exists():
            time.sleep(0.01)

    @ray.remote(num_cpus=0)
    def outer():
        ray.get(held.options(name="inner", **on("two")).remote())

    references = [held.options(name="on one", **on("one")).remote(), outer.remote()]

    def running(name):
        rows = state.list_tasks(filters=[("name", "=", name), ("state", "=", "RUNNING")])
        return rows[0] if rows else None

    assert until(lambda: running("on one"), "the task runs").node_id == nodes.one
    assert until(lambda: running("inner"), "the inner task runs").node_id == nodes.two
    gate.touch()
    get(references)
    (row,) = state.list_tasks(filters=[("name", "=", "inner")])
    assert (row.state, row.node_id) == ("FINISHED", nodes.two)


@pytest.mark.whipray_only
def test_list_workers_and_objects(ray, nodes, state, where, get):
    for name in ("one", "two"):
        get(where.options(**on(name)).remote())
    rows = state.list_workers(limit=1000)
    assert {row.node_id for row in rows} == nodes.all
    made = ray.remote(num_cpus=0)(lambda: bytes(1_000_000)).options(**on("one")).remote()
    ray.wait([made])
    rows = state.list_objects(filters=[("object_id", "=", made.hex())])
    assert rows and rows[0].object_size >= 1_000_000


def test_another_driver(engine, ray, nodes, drivers):
    source = f"""
    import os
    {engine.import_lines()[0]}
    ray.init(address={{address}}, log_to_driver=False, namespace="other")
    where = ray.remote(lambda: ray.get_runtime_context().get_node_id())
    print("here", ray.get_runtime_context().get_node_id())
    for name in ("one", "two"):
        print(name, ray.get(where.options(resources={{{{name: 1}}}}).remote(), timeout=60))
    print("nodes", len(ray.nodes()), "job", ray.get_runtime_context().get_job_id())
    """
    address = nodes.cluster.address
    first = drivers.run(source.format(address=repr(address)), name="first.py")
    for name, expected in (("here", nodes.head), ("one", nodes.one), ("two", nodes.two)):
        assert f"{name} {expected}" in first.stdout
    assert "nodes 3" in first.stdout
    second = drivers.run(
        source.format(address="None"), name="second.py", environment={"RAY_ADDRESS": address}
    )
    assert f"two {nodes.two}" in second.stdout
    assert ray.get_runtime_context().get_job_id() not in first.stdout + second.stdout


def test_output_of_other_nodes(engine, nodes, drivers, tmp_path):
    """What workers of other nodes print reaches the driver that they work for."""
    release = tmp_path / "release"
    driver = drivers.start(
        f"""
        import os, sys, time
        {engine.import_lines()[0]}
        ray.init(address={nodes.cluster.address!r})

        @ray.remote(num_cpus=0)
        def speak(name):
            print("this is", name, flush=True)
            print(name, "complains", file=sys.stderr, flush=True)

        @ray.remote(num_cpus=0)
        class Speaker:
            def speak(self, name):
                print("actor on", name, flush=True)

        for name in ("one", "two"):
            ray.get(speak.options(resources={{name: 1}}).remote(name))
        speaker = Speaker.options(resources={{"two": 1}}).remote()
        ray.get(speaker.speak.remote("two"))
        while not os.path.exists({str(release)!r}):
            time.sleep(0.05)
        ray.shutdown()
        """
    )
    wanted = ["this is one", "this is two", "actor on two", "one complains", "two complains"]
    until(
        lambda: all(text in driver.stdout + driver.stderr for text in wanted),
        f"the driver shows {wanted}",
    )
    release.touch()
    assert driver.finish() == 0, driver.told()
    assert "(speak pid=" in driver.stdout and "(Speaker pid=" in driver.stdout
