"""Actors with names: finding, namespaces, getting or creating."""

import pytest
from harness.waiting import until

pytestmark = [
    pytest.mark.cluster(num_cpus=4, namespace="home"),
    pytest.mark.usefixtures("cluster"),
]


@pytest.fixture(scope="module")
def cell_class(ray):
    @ray.remote(num_cpus=0)
    class Cell:
        def __init__(self, value=None):
            self.value = value

        def read(self):
            return self.value

        def write(self, value):
            self.value = value

    return Cell


def test_found_by_name(ray, cell_class, get):
    actor = cell_class.options(name="found").remote(1)
    found = ray.get_actor("found")
    assert found == actor
    assert get(found.read.remote()) == 1


def test_found_from_a_task(ray, cell_class, get):
    actor = cell_class.options(name="from task").remote()

    @ray.remote
    def write(value):
        ray.get(ray.get_actor("from task").write.remote(value))

    get(write.remote("written"))
    assert get(actor.read.remote()) == "written"


def test_unknown_name(ray):
    with pytest.raises(ValueError, match="Failed to look up actor with name 'nobody'"):
        ray.get_actor("nobody")


def test_empty_name(ray, cell_class):
    with pytest.raises(ValueError, match="Please supply a non-empty value to get_actor"):
        ray.get_actor("")
    with pytest.raises(ValueError, match="Actor name cannot be an empty string"):
        cell_class.options(name="").remote()


def test_name_of_wrong_type(ray, cell_class):
    with pytest.raises(TypeError):
        cell_class.options(name=1).remote()


def test_name_is_taken(ray, cell_class, get):
    actor = cell_class.options(name="taken").remote("first")
    with pytest.raises(ray.exceptions.ActorAlreadyExistsError, match="taken") as caught:
        cell_class.options(name="taken").remote("second")
    assert isinstance(caught.value, ValueError)
    assert get(ray.get_actor("taken").read.remote()) == "first"
    del actor


def test_namespaces_keep_names_apart(ray, cell_class, get):
    here = cell_class.options(name="twin").remote("here")
    there = cell_class.options(name="twin", namespace="away").remote("there")
    assert here != there
    assert get(ray.get_actor("twin").read.remote()) == "here"
    assert get(ray.get_actor("twin", namespace="home").read.remote()) == "here"
    assert get(ray.get_actor("twin", namespace="away").read.remote()) == "there"
    with pytest.raises(ValueError, match="Failed to look up actor"):
        ray.get_actor("twin", namespace="nowhere")


def test_empty_namespace(ray, cell_class):
    with pytest.raises(ValueError, match="is not a valid namespace"):
        cell_class.options(name="x", namespace="").remote()


def test_get_if_exists(ray, cell_class, get):
    first = cell_class.options(name="shared", get_if_exists=True).remote("made")
    second = cell_class.options(name="shared", get_if_exists=True).remote("not made")
    assert first == second
    assert get(second.read.remote()) == "made"


def test_get_if_exists_needs_a_name(cell_class):
    with pytest.raises(ValueError, match="name must be specified to use `get_if_exists`"):
        cell_class.options(get_if_exists=True).remote()


def test_name_is_free_after_kill(ray, cell_class, get):
    actor = cell_class.options(name="phoenix").remote(1)
    get(actor.read.remote())
    ray.kill(actor)

    def is_free():
        try:
            ray.get_actor("phoenix")
        except ValueError:
            return True
        return False

    until(is_free, "the killed actor's name is free")
    assert get(cell_class.options(name="phoenix").remote(2).read.remote()) == 2


def test_name_is_free_when_the_actor_went_out_of_scope(ray, cell_class, get):
    actor = cell_class.options(name="short-lived").remote(1)
    get(actor.read.remote())
    del actor

    def is_free():
        try:
            ray.get_actor("short-lived")
        except ValueError:
            return True
        return False

    until(is_free, "the dropped actor's name is free")


def test_handle_by_name_does_not_keep_the_actor(ray, cell_class, get):
    """Only the handle that made the actor counts, and copies of it."""
    actor = cell_class.options(name="weak").remote(1)
    weak = ray.get_actor("weak")
    get(actor.read.remote())
    del actor

    def has_ended():
        try:
            ray.get(weak.read.remote(), timeout=30)
        except ray.exceptions.RayActorError:
            return True
        return False

    until(has_ended, "the actor ends although a handle by name is left")


def test_detached_actor_outlives_its_handles(ray, cell_class, get):
    actor = cell_class.options(name="detached", lifetime="detached").remote("kept")
    get(actor.read.remote())
    del actor
    found = ray.get_actor("detached")
    assert get(found.read.remote()) == "kept"
    ray.kill(found)


def test_detached_actor_made_in_a_task(ray, cell_class, get):
    @ray.remote
    def make():
        actor = cell_class.options(name="made in task", lifetime="detached").remote("alive")
        ray.get(actor.read.remote())

    get(make.remote())
    found = ray.get_actor("made in task")
    assert get(found.read.remote()) == "alive"
    ray.kill(found)


def test_unknown_lifetime(cell_class):
    with pytest.raises(ValueError, match="`lifetime` argument must be one of"):
        cell_class.options(lifetime="eternal")


def test_list_of_names(ray, cell_class, get):
    actors = [
        cell_class.options(name="listed").remote(),
        cell_class.options(name="listed", namespace="elsewhere").remote(),
    ]
    get([actor.read.remote() for actor in actors])
    assert "listed" in ray.util.list_named_actors()
    everywhere = ray.util.list_named_actors(all_namespaces=True)
    assert {"name": "listed", "namespace": "home"} in everywhere
    assert {"name": "listed", "namespace": "elsewhere"} in everywhere


def test_namespace_of_workers_is_the_drivers(ray, get):
    @ray.remote
    def namespace():
        return ray.get_runtime_context().namespace

    assert get(namespace.remote()) == "home"
