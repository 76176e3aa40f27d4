"""Inference in batches: a pool of actors, each of which loads the model once.

    python examples/batched_inference.py --actors 4 --items 100000 --batch 500

Loading a model takes long, and a task would do it again and again: an actor does it when it starts.
`ActorPool` gives the next batch to whichever actor is idle. Results come back in the order of the
batches (`map`); `map_unordered` would give them as they come. The model here tells whether a review
is friendly, by a few words; any object with a `predict` fits in its place.
"""

import argparse
import itertools
import random
import time

import ray
from ray.experimental.tqdm_ray import tqdm
from ray.util import ActorPool

WORDS = {"good": 1, "great": 2, "fine": 1, "bad": -1, "awful": -2, "late": -1, "box": 0, "it": 0}


class Model:
    """Stands for something large that is loaded from a file."""

    def __init__(self):
        time.sleep(0.05)
        self.weights = WORDS

    def predict(self, reviews):
        """A score for each review: friendly ones are positive."""
        return [sum(self.weights[word] for word in review.split()) for review in reviews]


@ray.remote
class Predictor:
    """An actor with a model of its own."""

    def __init__(self):
        self.model = Model()

    def predict(self, reviews):
        return self.model.predict(reviews)


def reviews(count):
    chance = random.Random(1)
    words = list(WORDS)
    for _ in range(count):
        yield " ".join(chance.choice(words) for _ in range(8))


def batches(items, size):
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch


def predict_all(actors, items, batch):
    """The scores of `items` reviews, in their order."""
    pool = ActorPool([Predictor.remote() for _ in range(actors)])
    bar = tqdm(total=items, desc="reviews", unit="reviews")
    scores = []
    given = batches(reviews(items), batch)
    for found in pool.map(lambda actor, some: actor.predict.remote(some), given):
        scores.extend(found)
        bar.update(len(found))
    bar.close()
    return scores


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=100)
    size = parser.parse_args()
    ray.init()
    scores = predict_all(size.actors, size.items, size.batch)
    friendly = sum(score > 0 for score in scores)
    print(f"{friendly} of {len(scores)} reviews are friendly")
    ray.shutdown()


if __name__ == "__main__":
    main()
