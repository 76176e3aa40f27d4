"""Actors that live on one node and are used from others."""

import asyncio
import os
import signal
from collections import Counter

import numpy
import pytest
from harness.waiting import until

pytestmark = pytest.mark.usefixtures("nodes")


def on(name):
    return {"resources": {name: 1}}


def test_calls_keep_their_order(nodes, Dweller, get):
    actor = Dweller.options(**on("one")).remote(10)
    assert get(actor.node.remote()) == nodes.one
    assert get([actor.add.remote(1) for _ in range(1000)]) == list(range(11, 1011))


def test_handles_travel(ray, nodes, Dweller, get):
    @ray.remote(num_cpus=0)
    def use(actor, times):
        return [ray.get(actor.add.remote(1)) for _ in range(times)]

    actor = Dweller.options(**on("one")).remote()
    users = [use.options(**on(name)).remote(actor, 50) for name in ("head", "one", "two")]
    answers = [number for answer in get(users) for number in answer]
    assert sorted(answers) == list(range(1, 151))


def test_a_handle_inside_of_a_value_keeps_the_actor(ray, nodes, Dweller, get):
    @ray.remote(num_cpus=0)
    class Keeper:
        def keep(self, boxed):
            self.kept = boxed

        def use(self):
            return ray.get(self.kept["actor"].add.remote(1))

    keeper = Keeper.options(**on("two")).remote()
    actor = Dweller.options(**on("one")).remote(5)
    get(keeper.keep.remote({"actor": actor}))
    del actor
    assert get(keeper.use.remote()) == 6


def test_the_last_handle_goes(ray, nodes, Dweller, get):
    actor = Dweller.options(**on("two")).remote()
    process = get(actor.process.remote())
    del actor
    until(lambda: not os.path.exists(f"/proc/{process}"), "the actor's process is gone")


def test_names(ray, nodes, Dweller, get):
    @ray.remote(num_cpus=0)
    def find(name):
        return ray.get(ray.get_actor(name).add.remote(1))

    Dweller.options(name="remote", lifetime="detached", **on("one")).remote(0)
    assert get(find.options(**on("two")).remote("remote")) == 1
    assert get(find.options(**on("one")).remote("remote")) == 2
    assert get(ray.get_actor("remote").node.remote()) == nodes.one
    with pytest.raises(ValueError):
        Dweller.options(name="remote", **on("two")).remote()
    same = Dweller.options(name="remote", get_if_exists=True, **on("two")).remote()
    assert get(same.add.remote(1)) == 3
    ray.kill(same)


def test_an_actor_makes_actors_elsewhere(ray, nodes, Dweller, get):
    @ray.remote(num_cpus=0)
    class Parent:
        def __init__(self):
            self.children = [Dweller.options(**on(name)).remote() for name in ("head", "two")]

        def nodes(self):
            return ray.get([child.node.remote() for child in self.children])

        def hand_out(self):
            return self.children

    parent = Parent.options(**on("one")).remote()
    assert get(parent.nodes.remote()) == [nodes.head, nodes.two]
    head, two = get(parent.hand_out.remote())
    assert get(two.add.remote(3)) == 3
    # They live as long as their owner has a handle, and end with the owner.
    process = get(head.process.remote())
    ray.kill(parent)
    until(lambda: not os.path.exists(f"/proc/{process}"), "children end with their owner")
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(two.add.remote(1))


def test_large_arguments_and_results(ray, nodes, get):
    @ray.remote(num_cpus=0)
    class Doubler:
        def double(self, array):
            return array * 2

    first = Doubler.options(**on("one")).remote()
    second = Doubler.options(**on("two")).remote()
    array = numpy.arange(1_250_000.0)
    assert numpy.array_equal(get(second.double.remote(first.double.remote(array))), array * 4)


def test_kill(ray, nodes, Dweller, get):
    actor = Dweller.options(**on("one")).remote()
    process = get(actor.process.remote())
    ray.kill(actor)
    with pytest.raises(ray.exceptions.RayActorError):
        get(actor.add.remote(1))
    until(lambda: not os.path.exists(f"/proc/{process}"), "the actor's process is gone")


def test_a_process_that_dies(ray, nodes, Dweller, get):
    actor = Dweller.options(max_restarts=1, max_task_retries=1, **on("two")).remote(100)
    assert get(actor.add.remote(1)) == 101
    first = get(actor.process.remote())
    os.kill(first, signal.SIGKILL)
    assert get(actor.add.remote(5)) == 105
    second = get(actor.process.remote())
    assert second != first and get(actor.node.remote()) == nodes.two
    os.kill(second, signal.SIGKILL)
    with pytest.raises(ray.exceptions.ActorDiedError):
        get(actor.add.remote(1))


def test_a_task_that_dies_is_tried_again(ray, nodes, get, tmp_path):
    seen = tmp_path / "seen"

    @ray.remote(num_cpus=0, max_retries=1)
    def die_once():
        with open(seen, "a") as file:
            file.write("x")
        if len(seen.read_text()) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return "survived"

    assert get(die_once.options(**on("one")).remote()) == "survived"
    assert seen.read_text() == "xx"


def test_async_actors(ray, nodes, get):
    @ray.remote(num_cpus=0)
    class Meeting:
        def __init__(self):
            self.event = asyncio.Event()

        async def wait(self):
            await self.event.wait()
            return ray.get_runtime_context().get_node_id()

        async def open(self):
            self.event.set()

    meeting = Meeting.options(**on("two")).remote()
    waiting = [meeting.wait.remote() for _ in range(50)]
    get(meeting.open.remote())
    assert Counter(get(waiting)) == {nodes.two: 50}


def test_threads(ray, nodes, get):
    @ray.remote(num_cpus=0, max_concurrency=4)
    class Barrier:
        def __init__(self):
            import threading

            self.barrier = threading.Barrier(4)

        def meet(self):
            self.barrier.wait(60)
            return os.getpid()

    barrier = Barrier.options(**on("one")).remote()
    assert len(set(get([barrier.meet.remote() for _ in range(4)]))) == 1


def test_streams_of_methods(ray, nodes, get):
    @ray.remote(num_cpus=0)
    class Source:
        def items(self, count):
            for number in range(count):
                yield number, bytes(200_000)

    source = Source.options(**on("one")).remote()
    items = [get(item) for item in source.items.remote(10)]
    assert [number for number, _ in items] == list(range(10))
    assert {len(data) for _, data in items} == {200_000}


def test_cancel(ray, nodes, get, tmp_path):
    started = tmp_path / "started"

    @ray.remote(num_cpus=0)
    def endless():
        import time

        started.touch()
        while True:
            time.sleep(0.02)

    reference = endless.options(**on("two")).remote()
    until(started.exists, "the task runs")
    ray.cancel(reference)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        get(reference)


def test_a_constructor_that_fails(ray, nodes, get):
    @ray.remote(num_cpus=0)
    class Broken:
        def __init__(self):
            raise ValueError("no")

        def use(self):
            pass

    broken = Broken.options(**on("one")).remote()
    with pytest.raises(ray.exceptions.ActorDiedError, match="ValueError"):
        get(broken.use.remote())


def test_many_actors(ray, nodes, Dweller, get):
    actors = [Dweller.options(scheduling_strategy="SPREAD").remote(n) for n in range(30)]
    for _ in range(3):
        get([actor.add.remote(1) for actor in actors])
    assert get([actor.add.remote(0) for actor in actors]) == [n + 3 for n in range(30)]
    assert set(get([actor.node.remote() for actor in actors])) == nodes.all
