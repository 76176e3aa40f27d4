"""A driver that joins the cluster which another driver started for itself with init()."""

import json
import os

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]

JOIN = """
import {engine} as ray
ray.init(address={address!r}, namespace="shared", log_to_driver=False)
"""


@pytest.fixture
def join(ray, drivers, engine):
    """Runs a script that joins the cluster of the tests; what it printed."""

    def join(source, address=None, **options):
        address = address or ray.get_runtime_context().gcs_address
        prologue = JOIN.format(engine=engine.name, address=address)
        return drivers.run(prologue + source, **options).stdout

    return join


# The address that a driver tells was refused as malformed, whichever way it was handed on.
def test_address_that_a_driver_tells(ray, join):
    told = join("print(ray.nodes()[0]['NodeID'], ray.get_runtime_context().get_job_id())")
    node, job = told.split()[-2:]
    assert node == ray.nodes()[0]["NodeID"]
    assert job != ray.get_runtime_context().get_job_id()


def test_address_in_the_environment(ray, join):
    address = ray.get_runtime_context().gcs_address
    told = join("print(ray.nodes()[0]['NodeID'])", "auto", environment={"RAY_ADDRESS": address})
    assert told.split()[-1] == ray.nodes()[0]["NodeID"]


@pytest.mark.whipray_only  # Ray finds clusters of anybody on the machine.
def test_any_cluster_that_there_is(ray, join):
    told = join("print(ray.nodes()[0]['NodeID'])", "auto")
    assert told.split()[-1] == ray.nodes()[0]["NodeID"]


@pytest.mark.whipray_only
@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a folder of somebody else")
def test_cluster_of_somebody_else_is_not_joined_unnamed(join, tmp_path):
    """Whoever may write to the folder of sessions could lay out a cluster there for others."""
    session = tmp_path / "whipray" / "session_9999"
    session.mkdir(parents=True)
    (session / "token").write_text("open to all")
    (session / "node.json").write_text(json.dumps({"endpoint": "tcp:127.0.0.1:9"}))
    os.chown(session, 12345, 12345)
    source = "assert False"
    environment = {"RAY_TMPDIR": str(tmp_path)}
    with pytest.raises(AssertionError, match="Could not find any running Ray instance"):
        join(source, "auto", environment=environment)


def test_actors_are_found_by_name(ray, get, join):
    local = type("Cell", (), {"read": lambda self: 5})
    cell = ray.remote(local).options(name="cell", namespace="shared").remote()
    assert get(cell.read.remote()) == 5
    assert join("print(ray.get(ray.get_actor('cell').read.remote()))").split()[-1] == "5"


def test_detached_actor_outlives_the_driver_that_joined(ray, get, join):
    join(
        """
class Cell:
    def read(self):
        return 7

options = {"name": "kept", "lifetime": "detached"}
print(ray.get(ray.remote(Cell).options(**options).remote().read.remote()))
"""
    )
    kept = ray.get_actor("kept", "shared")
    assert get(kept.read.remote()) == 7
    ray.kill(kept)


@pytest.mark.whipray_only
def test_cluster_that_is_gone(ray, join):
    source = "assert False"
    with pytest.raises(AssertionError, match="no node of that cluster runs"):
        join(source, "unix:@whipray-session_of_old/node")
