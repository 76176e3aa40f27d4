"""Spilled objects in a bucket: they come back, and nothing of them stays."""

import itertools
import json
import os
import socket

import numpy
import pytest
from harness.buckets import SECRET, BucketServer
from harness.waiting import until

CAPACITY = 80 * 1024 * 1024
PART = 8 * 1024 * 1024

pytestmark = [pytest.mark.whipray_only, pytest.mark.usefixtures("stopped")]

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(nothing_left_behind, tmp_path_factory):
    server = BucketServer(tmp_path_factory.mktemp("buckets"))
    yield server
    server.end()


@pytest.fixture
def bucket(server, monkeypatch):
    """A bucket with nothing in it, which clusters of this test find."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    name = f"bucket{next(_numbers)}"
    server.make(name)
    return name


def to(*places, **more):
    """The configuration of a cluster that spills there."""
    places = places[0] if len(places) == 1 else list(places)
    config = {"type": "smart_open", "params": {"uri": places, "buffer_size": 1024 * 1024}}
    return {"object_spilling_config": json.dumps(config), **more}


@pytest.fixture
def spilling(init, bucket, tmp_path):
    """A small cluster that spills to the bucket."""
    return init(
        num_cpus=2,
        object_store_memory=CAPACITY,
        _temp_dir=str(tmp_path),
        _system_config=to(f"s3://{bucket}/deep/path"),
    )


def part(number, size=PART):
    """An array of which every byte depends on the number."""
    return (numpy.arange(size, dtype="u4") * (number + 1)).astype("u1")


def is_part(value, number):
    return numpy.array_equal(value, part(number, len(value)))


def local_files(folder):
    """The files of objects that are on this machine."""
    found = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
    return [
        path for path in found if "whipray_spilled_" in path and os.path.basename(path) != "lock"
    ]


def test_values_come_back_and_nothing_stays(ray, get, spilling, server, bucket):
    references = [ray.put(part(number)) for number in range(20)]
    keys = server.keys(bucket)
    assert keys
    assert all(key.startswith("deep/path/whipray_spilled_session_") for key in keys)
    assert all(is_part(get(it), number) for number, it in enumerate(references))
    assert all(is_part(value, number) for number, value in enumerate(get(references)))
    ray.shutdown()
    assert server.keys(bucket) == []


def test_objects_that_travel_in_parts(ray, get, spilling, server, bucket):
    size = 20 * 1024 * 1024 + 5
    references = [ray.put(part(number, size)) for number in range(6)]
    assert server.keys(bucket)
    assert all(is_part(get(it), number) for number, it in enumerate(references))
    assert server.uploads(bucket) == []


def test_tasks_read_and_make_them(ray, get, spilling, server, bucket):
    @ray.remote
    def make(number):
        return part(number)

    @ray.remote
    def check(value, number):
        return is_part(value, number)

    made = [make.remote(number) for number in range(20)]
    ray.wait(made, num_returns=len(made), timeout=60)
    assert server.keys(bucket)
    assert all(get([check.remote(it, number) for number, it in enumerate(made)]))
    assert get([check.remote(made[0], 0) for _ in range(8)]) == [True] * 8


def test_small_objects_share_files(ray, get, spilling, server, bucket):
    size = 200 * 1024
    references = [ray.put(part(number, size)) for number in range(800)]
    assert 0 < len(server.keys(bucket)) < 50
    assert all(is_part(get(it), number) for number, it in enumerate(references[:40]))


def test_files_go_with_their_objects(ray, spilling, server, bucket):
    references = [ray.put(part(number)) for number in range(20)]
    assert server.keys(bucket)
    references.clear()
    ray.put(part(0))
    until(lambda: not server.keys(bucket), "files of objects that nobody refers to are removed")


def test_what_was_fetched_is_here_while_it_is_read(ray, get, spilling, tmp_path):
    references = [ray.put(part(number)) for number in range(20)]
    assert local_files(tmp_path) == []
    first = get(references[0])
    assert len(local_files(tmp_path)) == 1
    again = get(references[0])
    assert len(local_files(tmp_path)) == 1
    assert is_part(first, 0) and is_part(again, 0)
    del first, again
    until(lambda: not local_files(tmp_path), "what nobody reads any more is removed")
    assert is_part(get(references[0]), 0)


def test_object_larger_than_the_store(ray, get, spilling, tmp_path):
    """Its writer needs a file to write to, which is on this machine."""
    reference = ray.put(numpy.full(2 * CAPACITY, 3, dtype="u1"))
    assert len(local_files(tmp_path)) == 1
    value = get(reference)
    assert value.nbytes == 2 * CAPACITY and value[0] == 3 and value[-1] == 3
    del value
    ray.shutdown()
    assert local_files(tmp_path) == []


def test_places_of_several_kinds_take_turns(ray, init, get, server, bucket, tmp_path):
    places = (f"s3://{bucket}/one", f"s3a://{bucket}/two", f"file://{tmp_path}")
    init(
        num_cpus=1,
        object_store_memory=CAPACITY,
        _system_config=to(*places, min_spilling_size=PART),
    )
    references = [ray.put(part(number)) for number in range(30)]
    assert {key.split("/")[0] for key in server.keys(bucket)} == {"one", "two"}
    assert local_files(tmp_path)
    assert all(is_part(get(it), number) for number, it in enumerate(references))
    ray.shutdown()
    assert server.keys(bucket) == [] and local_files(tmp_path) == []


def test_address_in_the_place_of_a_directory(ray, init, get, server, bucket):
    init(
        num_cpus=1,
        object_store_memory=CAPACITY,
        object_spilling_directory=f"s3://{bucket}",
    )
    references = [ray.put(part(number)) for number in range(15)]
    assert server.keys(bucket)
    assert is_part(get(references[0]), 0)


def test_file_that_somebody_removed(ray, get, spilling, server, bucket):
    """What was put is lost, with the reason; what a task made is made again."""

    @ray.remote
    def make(number):
        return part(number)

    made = make.remote(100)
    ray.wait([made], timeout=60)
    references = [ray.put(part(number)) for number in range(20)]
    for key in server.keys(bucket):
        server.remove(bucket, key)
    with pytest.raises(ray.exceptions.ObjectLostError, match=f"s3://{bucket}/deep/path/"):
        get(references[0])
    assert is_part(get(made), 100)
    assert is_part(get(references[-1]), 19)


def test_bucket_that_cannot_be_reached(ray, init, get, bucket, monkeypatch):
    with socket.socket() as taken:
        # Bound and not listening: nobody else can answer there.
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        init(num_cpus=1, object_store_memory=CAPACITY, _system_config=to(f"s3://{bucket}/path"))
        references = []
        with pytest.raises(ray.exceptions.ObjectStoreFullError) as raised:
            for number in range(20):
                references.append(ray.put(part(number)))
        text = str(raised.value)
        assert f"s3://{bucket}/path" in text and "refused" in text
        assert SECRET not in text
        assert len(references) >= 5
        assert all(is_part(get(it), number) for number, it in enumerate(references))
        references.clear()
        assert is_part(get(ray.put(part(7))), 7), "room that comes back can be used"


def test_bucket_that_is_not_there(ray, init, bucket):
    init(num_cpus=1, object_store_memory=CAPACITY, _system_config=to("s3://nowhere/path"))
    with pytest.raises(
        ray.exceptions.ObjectStoreFullError, match="s3://nowhere/path.*NoSuchBucket"
    ):
        references = [ray.put(part(number)) for number in range(20)]
        del references


def test_places_that_are_none_are_refused(init):
    with pytest.raises(RuntimeError, match=r"ftp://bucket/path.*s3, s3a, gs, az"):
        init(num_cpus=1, _system_config=to("ftp://bucket/path"))
    with pytest.raises(RuntimeError, match="s3:///path"):
        init(num_cpus=1, object_spilling_directory="s3:///path")
    with pytest.raises(RuntimeError, match="environment") as raised:
        init(num_cpus=1, _system_config=to("s3://key:hidden@bucket/path"))
    assert "hidden" not in str(raised.value)


def test_secrets_are_in_no_log(ray, init, bucket, tmp_path):
    init(
        num_cpus=1,
        object_store_memory=CAPACITY,
        _temp_dir=str(tmp_path),
        _system_config=to("s3://nowhere/path"),
    )
    with pytest.raises(ray.exceptions.ObjectStoreFullError):
        references = [ray.put(part(number)) for number in range(20)]
        del references
    ray.shutdown()
    logs = [path for path in tmp_path.rglob("daemon.log") if not path.parent.is_symlink()]
    assert logs
    assert all(SECRET not in path.read_text() for path in logs)
