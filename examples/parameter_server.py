"""A parameter server: an actor holds a model, tasks compute gradients on shares of the data.

    python examples/parameter_server.py --workers 4 --rounds 200

The model is a straight line that is fitted to points around another one. Each share of the points
has its own chain of tasks, which do not wait for those of the others: a task takes the parameters
as they are and computes the gradient, the server applies it, and the next task begins with what
comes out. Plain numbers are used, so that nothing has to be installed.
"""

import argparse
import random

import ray
from ray.experimental.tqdm_ray import tqdm

SLOPE, OFFSET = 3.0, -1.0


@ray.remote
class ParameterServer:
    """Holds slope and offset, and moves them against the gradients that it gets."""

    def __init__(self, learning_rate):
        self.learning_rate = learning_rate
        self.slope = self.offset = 0.0

    def parameters(self):
        return self.slope, self.offset

    def apply(self, gradient):
        self.slope -= self.learning_rate * gradient[0]
        self.offset -= self.learning_rate * gradient[1]
        return self.slope, self.offset


@ray.remote
def gradient(parameters, points):
    """The gradient of the mean squared error. `parameters` was a reference: its value is here."""
    slope, offset = parameters
    errors = [(slope * x + offset - y, x) for x, y in points]
    return (
        2 * sum(error * x for error, x in errors) / len(points),
        2 * sum(error for error, _ in errors) / len(points),
    )


def points_of_a_worker(seed, count):
    chance = random.Random(seed)
    xs = [chance.uniform(-1, 1) for _ in range(count)]
    return [(x, SLOPE * x + OFFSET + chance.gauss(0, 0.1)) for x in xs]


def train(workers, rounds, points):
    """Slope and offset after `rounds` gradients of each worker."""
    server = ParameterServer.remote(learning_rate=0.1)
    # Stored once: every task of a worker reads the same copy.
    shares = [ray.put(points_of_a_worker(seed, points)) for seed in range(workers)]
    bar = tqdm(total=workers * rounds, desc="gradients")
    steps = {gradient.remote(server.parameters.remote(), share): share for share in shares}
    for started in range(workers, workers * rounds + workers):
        (done,), _ = ray.wait(list(steps))
        share = steps.pop(done)
        updated = server.apply.remote(done)
        bar.update()
        if started < workers * rounds:
            steps[gradient.remote(updated, share)] = share
    bar.close()
    return ray.get(server.parameters.remote())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--points", type=int, default=100, help="of each worker")
    size = parser.parse_args()
    ray.init()
    slope, offset = train(size.workers, size.rounds, size.points)
    print(f"y = {slope:.2f} x {offset:+.2f}, around y = {SLOPE:.2f} x {OFFSET:+.2f}")
    ray.shutdown()


if __name__ == "__main__":
    main()
