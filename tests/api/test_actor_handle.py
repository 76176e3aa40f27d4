"""Handles of actors: passing them on, equality, life time."""

import os

import pytest
from harness.waiting import until

pytestmark = [pytest.mark.cluster(num_cpus=4), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def counter_class(ray):
    @ray.remote(num_cpus=0)
    class Counter:
        def __init__(self):
            self.count = 0

        def up(self):
            self.count += 1
            return self.count

        def process(self):
            return os.getpid()

    return Counter


def process_is_gone(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_passed_to_a_task(ray, counter_class, get):
    @ray.remote
    def call(handle):
        return ray.get(handle.up.remote())

    actor = counter_class.remote()
    assert get(call.remote(actor)) == 1
    assert get(call.remote(actor)) == 2
    assert get(actor.up.remote()) == 3


def test_nested_in_an_argument(ray, counter_class, get):
    @ray.remote
    def call(table):
        return ray.get([handle.up.remote() for handle in table["handles"]])

    assert get(call.remote({"handles": [counter_class.remote(), counter_class.remote()]})) == [1, 1]


def test_captured_in_a_closure(ray, counter_class, get):
    actor = counter_class.remote()

    @ray.remote
    def call():
        return ray.get(actor.up.remote())

    assert get([call.remote() for _ in range(5)]) and get(actor.up.remote()) == 6


def test_passed_to_an_actor(ray, counter_class, get):
    @ray.remote
    class User:
        def __init__(self, handle):
            self.handle = handle

        def use(self):
            return ray.get(self.handle.up.remote())

    actor = counter_class.remote()
    user = User.remote(actor)
    assert get(user.use.remote()) == 1
    assert get(actor.up.remote()) == 2


def test_returned_from_a_task(ray, counter_class, get):
    @ray.remote
    def make():
        actor = counter_class.remote()
        ray.get(actor.up.remote())
        return actor

    assert get(get(make.remote()).up.remote()) == 2


def test_put_into_the_store(ray, counter_class, get):
    actor = counter_class.remote()
    assert get(ray.get(ray.put(actor)).up.remote()) == 1


def test_equality_and_hash(ray, counter_class, get):
    first, second = counter_class.remote(), counter_class.remote()
    copy = ray.get(ray.put(first))
    assert copy == first and hash(copy) == hash(first)
    assert first != second
    assert len({first, copy, second}) == 2


def test_actor_hands_out_itself(ray, get):
    @ray.remote
    class Own:
        def handle(self):
            return ray.get_runtime_context().current_actor

        def hello(self):
            return "hello"

    actor = Own.remote()
    own = get(actor.handle.remote())
    assert own == actor
    assert get(own.hello.remote()) == "hello"


def test_actors_call_each_other(ray, get):
    @ray.remote(num_cpus=0)
    class Player:
        def set_other(self, other):
            self.other = other

        def pass_on(self, count):
            return self.other.pass_on.remote(count - 1) if count else "end"

    first, second = Player.remote(), Player.remote()
    get([first.set_other.remote(second), second.set_other.remote(first)])
    result = get(first.pass_on.remote(4))
    while isinstance(result, ray.ObjectRef):
        result = get(result)
    assert result == "end"


def test_actor_ends_when_its_last_handle_goes(counter_class, get):
    actor = counter_class.remote()
    process = get(actor.process.remote())
    del actor
    until(lambda: process_is_gone(process), "the actor without handles ends")


def test_calls_in_flight_finish_before_the_actor_ends(ray, get, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote
    class Slow:
        def wait(self):
            import time

            while not gate.exists():
                time.sleep(0.01)
            return "finished"

    reference = Slow.remote().wait.remote()
    gate.touch()
    assert get(reference) == "finished"


def test_handle_kept_by_another_actor_keeps_the_actor(ray, counter_class, get):
    @ray.remote
    class Keeper:
        def keep(self, handles):
            self.handle = handles[0]

        def use(self):
            return ray.get(self.handle.up.remote())

        def drop(self):
            self.handle = None

    keeper = Keeper.remote()
    actor = counter_class.remote()
    process = get(actor.process.remote())
    get(keeper.keep.remote([actor]))
    del actor
    assert get([keeper.use.remote() for _ in range(3)]) == [1, 2, 3]
    assert not process_is_gone(process)
    get(keeper.drop.remote())
    until(lambda: process_is_gone(process), "the actor ends when the keeper drops its handle")


def test_resources_come_back_when_the_actor_ends(ray, get):
    @ray.remote(num_cpus=3)
    class Wide:
        def hello(self):
            return "hello"

    actor = Wide.remote()
    get(actor.hello.remote())
    until(lambda: ray.available_resources().get("CPU") == 1, "the actor takes its CPUs")
    del actor
    until(lambda: ray.available_resources().get("CPU") == 4, "the actor gives its CPUs back")
