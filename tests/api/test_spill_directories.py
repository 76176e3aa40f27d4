"""Where spilled objects lie on disk, and that nothing stays there."""

import json
import os

import numpy
import pytest
from harness.waiting import until

CAPACITY = 80 * 1024 * 1024
PART = 8 * 1024 * 1024

pytestmark = [pytest.mark.whipray_only, pytest.mark.usefixtures("stopped")]


def put(ray, number):
    return ray.put(numpy.full(PART, number, dtype="u1"))


def files(folder):
    """The files of spilled objects below a folder."""
    found = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
    return [path for path in found if os.path.basename(path) != "lock"]


def test_directory_that_was_chosen(ray, init, get, tmp_path):
    init(num_cpus=1, object_store_memory=CAPACITY, object_spilling_directory=str(tmp_path))
    assert list(tmp_path.iterdir()) == [], "nothing is made before it is needed"
    references = [put(ray, number) for number in range(20)]
    assert files(tmp_path)
    assert [int(get(it)[-1]) for it in references] == list(range(20))
    ray.shutdown()
    assert list(tmp_path.iterdir()) == []


def test_files_go_with_their_objects(ray, init, tmp_path):
    init(num_cpus=1, object_store_memory=CAPACITY, object_spilling_directory=str(tmp_path))
    references = [put(ray, number) for number in range(20)]
    assert files(tmp_path)
    references.clear()
    ray.put(numpy.zeros(PART, dtype="u1"))
    until(lambda: not files(tmp_path), "files of objects that nobody refers to are removed")


def test_several_directories_take_turns(ray, init, get, tmp_path):
    places = [str(tmp_path / name) for name in ("one", "two")]
    config = {"type": "filesystem", "params": {"directory_path": places}}
    init(
        num_cpus=1,
        object_store_memory=CAPACITY,
        _system_config={"object_spilling_config": json.dumps(config), "min_spilling_size": PART},
    )
    references = [put(ray, number) for number in range(30)]
    assert all(files(place) for place in places)
    assert [int(get(it)[0]) for it in references] == list(range(30))


def test_small_objects_share_files(ray, init, tmp_path):
    init(num_cpus=1, object_store_memory=CAPACITY, object_spilling_directory=str(tmp_path))
    references = [ray.put(numpy.zeros(200 * 1024, dtype="u1")) for _ in range(800)]
    assert len(references) == 800
    assert 0 < len(files(tmp_path)) < 50


def test_disk_that_is_full(ray, init, get, tmp_path):
    init(
        num_cpus=1,
        object_store_memory=CAPACITY,
        object_spilling_directory=str(tmp_path),
        _system_config={"local_fs_capacity_threshold": 0.0},
    )
    references = []
    with pytest.raises(ray.exceptions.OutOfDiskError, match=str(tmp_path)):
        for number in range(20):
            references.append(put(ray, number))
    assert len(references) >= 5
    assert [int(get(it)[0]) for it in references] == list(range(len(references)))

    @ray.remote
    def make():
        return numpy.zeros(2 * CAPACITY, dtype="u1")

    with pytest.raises(ray.exceptions.OutOfDiskError):
        get(make.remote())
    references.clear()
    assert get(put(ray, 7))[0] == 7, "room that comes back can be used"


def test_places_that_are_no_directories_are_refused(init):
    config = {"type": "filesystem", "params": {"directory_path": "relative/path"}}
    with pytest.raises(RuntimeError, match="relative/path"):
        init(num_cpus=1, _system_config={"object_spilling_config": json.dumps(config)})


def test_file_that_somebody_removed(ray, init, tmp_path):
    """The loss is told as such, at the object that is lost."""
    init(num_cpus=1, object_store_memory=CAPACITY, object_spilling_directory=str(tmp_path))
    references = [put(ray, number) for number in range(20)]
    for path in files(tmp_path):
        os.remove(path)
    with pytest.raises(ray.exceptions.ObjectLostError):
        ray.get(references[0], timeout=60)
    assert ray.get(references[-1], timeout=60)[0] == 19
