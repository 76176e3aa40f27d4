"""Tasks and actors that wait for each other are reported; those that will go on are not."""

from harness.driver import Driver, Drivers

PROLOGUE = """
import time
import whipray as ray

ray.init(num_cpus=4)


class Peer:
    def meet(self, other):
        self.other = other

    def outer(self):
        return ray.get(self.other.middle.remote())

    def middle(self):
        return ray.get(self.other.inner.remote())

    def bounded(self):
        try:
            return ray.get(self.other.bounded_middle.remote())
        except ray.exceptions.GetTimeoutError:
            return "gave up"

    def bounded_middle(self):
        return ray.get(self.other.inner.remote(), timeout=4)

    def inner(self):
        return "inner"

    def own(self, me):
        return ray.get(me.inner.remote())


def pair(**options):
    kind = ray.remote(**options)(Peer) if options else ray.remote(Peer)
    first, second = kind.remote(), kind.remote()
    ray.get([first.meet.remote(second), second.meet.remote(first)])
    return first, second
"""

SENTENCE = "these wait for each other, and none of them will ever go on"


def start(drivers: Drivers, source: str) -> Driver:
    return drivers.start(PROLOGUE + source)


def run(drivers: Drivers, source: str) -> Driver:
    return drivers.run(PROLOGUE + source)


def told(driver: Driver) -> str:
    from harness.waiting import until

    until(lambda: SENTENCE in driver.stderr, f"the cycle is reported: {driver.told()}")
    until(lambda: "Give one of them a timeout" in driver.stderr, "the report is whole")
    return driver.stderr


def test_two_actors_that_wait_for_each_other(drivers):
    driver = start(drivers, "ray.get(pair()[0].outer.remote())")
    report = told(driver)
    assert "Peer.outer (pid" in report and "waits in get for Peer.middle" in report
    assert "Peer.middle (pid" in report and "waits in get for Peer.inner" in report
    assert "until Peer.outer is through" in report
    assert driver.process.poll() is None, "nothing is ended"


def test_an_actor_that_waits_for_its_own_queue(drivers):
    driver = start(
        drivers,
        """
me = ray.remote(Peer).remote()
ray.get(me.own.remote(me))
""",
    )
    assert "Peer.own (pid" in told(driver)


def test_a_call_that_takes_the_result_of_a_later_one(drivers):
    driver = start(
        drivers,
        """
@ray.remote
class Holder:
    def take(self, references):
        return ray.get(references[0])

holder = Holder.remote()
peer = ray.remote(Peer).remote()

@ray.remote
def relay(holder):
    # The result is of a call that the actor gets after the one that waits for it.
    return ray.get(holder.take.remote([ray.put(1)]))

first = holder.take.remote([relay.remote(holder)])
ray.get(first)
""",
    )
    assert "Holder.take (pid" in told(driver)


def test_a_blocked_event_loop(drivers):
    driver = start(
        drivers,
        """
@ray.remote
class Loop:
    async def outer(self, me):
        return ray.get(me.inner.remote())

    async def inner(self):
        return 1

me = Loop.remote()
ray.get(me.outer.remote(me))
""",
    )
    assert "Loop.outer (pid" in told(driver)


def test_it_is_reported_once(drivers):
    driver = run(
        drivers,
        """
try:
    ray.get(pair()[0].outer.remote(), timeout=9)
except ray.exceptions.GetTimeoutError:
    print("gave up")
""",
    )
    assert driver.stderr.count(SENTENCE) == 1


def test_what_will_go_on_is_not_reported(drivers):
    driver = run(
        drivers,
        """
first, _ = pair()
bounded = first.bounded.remote()
threaded = pair(max_concurrency=2)[0].outer.remote()


@ray.remote
class Awaiting:
    async def meet(self, other):
        self.other = other

    async def outer(self):
        return await self.other.middle.remote()

    async def middle(self):
        return await self.other.inner.remote()

    async def inner(self):
        import asyncio
        await asyncio.sleep(4)
        return "inner"


one, two = Awaiting.remote(), Awaiting.remote()
ray.get([one.meet.remote(two), two.meet.remote(one)])
awaited = one.outer.remote()


@ray.remote
def nested(depth):
    if depth == 0:
        time.sleep(4)
        return 0
    return 1 + ray.get(nested.remote(depth - 1))


deep = nested.remote(6)
print(ray.get([bounded, threaded, awaited, deep], timeout=60))
""",
    )
    assert "['gave up', 'inner', 'inner', 6]" in driver.stdout
    assert SENTENCE not in driver.stderr
