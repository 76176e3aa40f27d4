"""A program with tasks, actors and objects on all nodes, whose results are known beforehand."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List

from harness.driver import Driver

SOURCE = """
import json, os, sys, time
import numpy
import whipray as ray

folder, tasks, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
ray.init(address=os.environ.get("CLUSTER") or "auto", log_to_driver=False)


@ray.remote(max_retries=-1)
def count(number):
    time.sleep(pause)
    with open(folder + "/ran", "a") as file:
        file.write(f"{number}\\n")
    return number


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD")
class Counter:
    def __init__(self):
        self.count = 0

    def add(self, number):
        time.sleep(pause)
        self.count += 1
        return self.count, number, os.getpid()


@ray.remote(max_retries=-1, scheduling_strategy="SPREAD")
def make(number):
    time.sleep(pause)
    return numpy.full(100_000, float(number))


@ray.remote(max_retries=-1, scheduling_strategy="SPREAD")
def total(array):
    return float(array.sum())


def until_all(references):
    # In small steps, so that a test can say how far it came.
    pending = references
    while pending:
        ready, pending = ray.wait(pending, num_returns=min(50, len(pending)), timeout=100)
        assert ready, f"nothing comes any more, with {len(pending)} missing"
        print("left", len(pending), flush=True)


nodes = sum(node["Alive"] for node in ray.nodes())
counters = [Counter.remote() for _ in range(nodes)]
numbers = [count.remote(number) for number in range(tasks)]
calls = [[counter.add.remote(number) for number in range(tasks // 10)] for counter in counters]
sums = [total.remote(make.remote(number)) for number in range(tasks // 40)]
ray.wait(numbers, num_returns=tasks // 20, timeout=60)
print("ready", flush=True)
until_all(numbers + sum(calls, []) + sums)
result = {
    "sum": sum(ray.get(numbers)),
    "calls": [ray.get(each) for each in calls],
    "sums": ray.get(sums),
}
print("result", json.dumps(result), flush=True)
"""


class Workload:
    """How much there is to do, and what must have come of it."""

    def __init__(self, folder: Path, tasks: int, pause: float) -> None:
        """So many tasks, of so many seconds each."""
        self._folder = folder
        self._tasks = tasks
        self.arguments = [str(folder), str(tasks), str(pause)]

    def _result_of(self, driver: Driver) -> Dict[str, Any]:
        assert driver.finish() == 0, driver.told()
        lines = [line for line in driver.stdout.splitlines() if line.startswith("result ")]
        assert len(lines) == 1, driver.told()
        return json.loads(lines[0].partition(" ")[2])

    def require_all(self, driver: Driver) -> Dict[str, Any]:
        """Everything was done, at least once. Returns what the driver found."""
        result = self._result_of(driver)
        assert result["sum"] == sum(range(self._tasks))
        assert result["sums"] == [100_000.0 * number for number in range(self._tasks // 40)]
        for calls in result["calls"]:
            assert [number for _, number, _ in calls] == list(range(self._tasks // 10))
            _require_lives(calls)
        assert set(self.ran()) == set(range(self._tasks))
        return result

    def require_all_once(self, driver: Driver) -> None:
        """Everything was done, nothing twice, and no actor lost its state."""
        result = self.require_all(driver)
        twice = [number for number, times in Counter(self.ran()).items() if times > 1]
        assert not twice, f"ran more than once: {twice}"
        for calls in result["calls"]:
            assert [count for count, _, _ in calls] == list(range(1, self._tasks // 10 + 1))

    def ran(self) -> List[int]:
        """The numbers of the tasks that ran, in the order of their ends."""
        return [int(line) for line in (self._folder / "ran").read_text().split()]


def _require_lives(calls: List[Any]) -> None:
    """The state of an actor grows within each of its lives, and no life goes on after another one
    has begun."""
    seen: List[int] = []
    last = 0
    for count, _, process in calls:
        if not seen or seen[-1] != process:
            assert process not in seen, "an earlier life of the actor has answered again"
            seen.append(process)
            last = 0
        assert count > last, "the actor counts backwards"
        last = count
