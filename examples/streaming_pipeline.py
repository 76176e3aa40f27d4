"""A pipeline of generators: every stage works on items that the one before still makes.

    python examples/streaming_pipeline.py --records 200000 --batch 1000

A remote function with `yield` returns references one by one while it runs. Here one reads records,
tasks clean batch by batch, and an actor adds up; the first totals are there long before the last
record was read. The reader makes a few batches ahead of those who take them and then waits
(`_generator_backpressure_num_objects`), and the driver keeps as many batches under way as there are
CPUs: so memory does not grow with the input.
"""

import argparse
import collections
import random

import ray
from ray.experimental.tqdm_ray import tqdm

CITIES = ("Bern", "Oslo", "Rome")


@ray.remote(_generator_backpressure_num_objects=4)
def read(records, batch):
    """Batches of lines such as `" oslo;12 "`, some of them broken."""
    chance = random.Random(1)
    for start in range(0, records, batch):
        lines = []
        for _ in range(min(batch, records - start)):
            city = chance.choice(CITIES).lower()
            lines.append("?" if chance.random() < 0.01 else f" {city};{chance.randint(0, 30)} ")
        yield lines


@ray.remote
def clean(lines):
    """Pairs of city and temperature; broken lines are left out."""
    split = [line.strip().split(";") for line in lines]
    return [(parts[0].title(), int(parts[1])) for parts in split if len(parts) == 2]


@ray.remote
class Totals:
    """Adds up, and tells the means so far."""

    def __init__(self):
        self.sums = collections.Counter()
        self.counts = collections.Counter()

    def add(self, pairs):
        for city, degrees in pairs:
            self.sums[city] += degrees
            self.counts[city] += 1

    def means(self):
        return {city: self.sums[city] / self.counts[city] for city in sorted(self.counts)}


def run(records, batch):
    """The mean temperature of each city."""
    totals = Totals.remote()
    most = max(2, int(ray.cluster_resources()["CPU"]))
    under_way = collections.deque()
    bar = tqdm(total=-(-records // batch), desc="batches", unit="batches")
    for lines in read.remote(records, batch):
        under_way.append(totals.add.remote(clean.remote(lines)))
        if len(under_way) >= most:
            ray.get(under_way.popleft())
            bar.update()
    while under_way:
        ray.get(under_way.popleft())
        bar.update()
    bar.close()
    return ray.get(totals.means.remote())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=250)
    size = parser.parse_args()
    ray.init()
    for city, degrees in run(size.records, size.batch).items():
        print(f"{city}: {degrees:.1f} degrees")
    ray.shutdown()


if __name__ == "__main__":
    main()
