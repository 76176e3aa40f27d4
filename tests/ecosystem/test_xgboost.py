"""XGBoost's data-parallel training in actors: trees of all rows, although nobody has them all."""

import numpy
import pytest

xgboost = pytest.importorskip("xgboost")

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]

WORKERS = 2
ROUNDS = 5
# Thresholds between few different values are exact, however the rows are divided.
PARAMETERS = {"objective": "reg:squarederror", "tree_method": "hist", "max_depth": 3, "nthread": 1}


def rows(rank=None):
    """Rows of a problem with steps: those of one worker, or all."""
    generator = numpy.random.default_rng(5)
    inputs = generator.integers(0, 16, size=(400, 3)).astype(numpy.float32)
    targets = (inputs[:, 0] > 7) * 3.0 - (inputs[:, 1] > 3) * inputs[:, 2]
    share = slice(None) if rank is None else slice(rank, None, WORKERS)
    return inputs[share], targets[share]


def train(inputs, targets):
    return xgboost.train(PARAMETERS, xgboost.DMatrix(inputs, targets), ROUNDS)


def test_workers_train_one_model(ray, get):
    from xgboost.tracker import RabitTracker

    @ray.remote(num_cpus=1)
    class Worker:
        def train(self, rank, arguments):
            with xgboost.collective.CommunicatorContext(**arguments):
                size = xgboost.collective.get_world_size()
                return size, bytes(train(*rows(rank)).save_raw())

    tracker = RabitTracker(host_ip="127.0.0.1", n_workers=WORKERS)
    tracker.start()
    workers = [Worker.remote() for _ in range(WORKERS)]
    arguments = tracker.worker_args()
    found = get([worker.train.remote(rank, arguments) for rank, worker in enumerate(workers)])
    tracker.wait_for()
    for worker in workers:
        ray.kill(worker)

    assert [size for size, _ in found] == [WORKERS] * WORKERS
    inputs, targets = rows()
    alone = train(inputs, targets).predict(xgboost.DMatrix(inputs))
    for _, data in found:
        together = xgboost.Booster(model_file=bytearray(data)).predict(xgboost.DMatrix(inputs))
        numpy.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)
