"""Pi by random points: tasks that tell an actor how far they are.

    python examples/monte_carlo_pi.py --tasks 8 --points 5000000

Each task throws points into a square and counts those inside of the circle. While they run, they
report to one actor, which the driver asks from time to time: so there is one bar for all of them.
"""

import argparse
import random
import time

import ray
from ray.experimental.tqdm_ray import tqdm

REPORTS = 20
"""How often a task tells how far it is."""


@ray.remote
class Progress:
    """Adds up what the tasks have done."""

    def __init__(self):
        self.points = 0

    def add(self, points):
        self.points += points

    def total(self):
        return self.points


@ray.remote
def points_inside(seed, points, progress):
    """How many of `points` random points lie inside of the circle."""
    chance = random.Random(seed)
    inside = 0
    step = max(1, points // REPORTS)
    for start in range(0, points, step):
        count = min(step, points - start)
        for _ in range(count):
            x, y = chance.random(), chance.random()
            inside += x * x + y * y <= 1
        # Nobody waits for this call: the task goes on at once.
        progress.add.remote(count)
    return inside


def estimate(tasks, points):
    """Pi from `points` points of each of `tasks` tasks."""
    progress = Progress.remote()
    counts = [points_inside.remote(seed, points, progress) for seed in range(tasks)]
    bar = tqdm(total=tasks * points, desc="points", unit="points")
    waiting = counts
    while waiting:
        _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=0.1)
        bar.update(ray.get(progress.total.remote()) - bar.n)
    bar.close()
    return 4 * sum(ray.get(counts)) / (tasks * points)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--points", type=int, default=50_000, help="of each task")
    size = parser.parse_args()
    ray.init()
    start = time.perf_counter()
    value = estimate(size.tasks, size.points)
    seconds = time.perf_counter() - start
    print(f"pi is about {value:.3f} ({size.tasks * size.points} points in {seconds:.1f} s)")
    ray.shutdown()


if __name__ == "__main__":
    main()
