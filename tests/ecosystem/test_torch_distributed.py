"""PyTorch's data-parallel training in actors: the model of one process, within rounding."""

import pytest

torch = pytest.importorskip("torch")

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]

WORKERS = 2
STEPS = 5
LOADING_SECONDS = 170
"""Each process loads torch first, which takes long on a small machine."""


def rows(begin, end):
    """Rows of a linear problem, the same in each process."""
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(32, 4, generator=generator)
    targets = inputs @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
    return inputs[begin:end], targets[begin:end]


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))


def train(network, inputs, targets):
    """The weights after a few steps over all rows."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(network(inputs), targets).backward()
        optimizer.step()
    return [parameter.detach().numpy().copy() for parameter in network.parameters()]


@pytest.fixture
def trainers(ray):
    """Two actors, each with the half of the rows of its rank."""

    @ray.remote(num_cpus=1)
    class Trainer:
        def __init__(self, rank):
            self.rank = rank

        def address(self):
            import socket

            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                return f"tcp://127.0.0.1:{probe.getsockname()[1]}"

        def train_by_torch(self, address):
            import torch.distributed as dist
            from torch.nn.parallel import DistributedDataParallel

            dist.init_process_group("gloo", address, rank=self.rank, world_size=WORKERS)
            try:
                return train(DistributedDataParallel(model()), *self.own_rows())
            finally:
                dist.destroy_process_group()

        def train_by_collective(self):
            import ray.util.collective as collective

            collective.init_collective_group(WORKERS, self.rank, "gloo", "training")
            network = model()

            def average(gradient):
                total = gradient.clone()
                collective.allreduce(total, "training")
                return total / WORKERS

            for parameter in network.parameters():
                parameter.register_hook(average)
            try:
                return train(network, *self.own_rows())
            finally:
                collective.destroy_collective_group("training")

        def own_rows(self):
            share = 32 // WORKERS
            return rows(self.rank * share, (self.rank + 1) * share)

    made = [Trainer.remote(rank) for rank in range(WORKERS)]
    yield made
    for trainer in made:
        ray.kill(trainer)


def require_the_weights_of_one_process(found):
    alone = train(model(), *rows(0, 32))
    for weights in found:
        assert len(weights) == len(alone)
        for own, expected in zip(weights, alone):
            torch.testing.assert_close(torch.tensor(own), torch.tensor(expected))


def test_distributed_data_parallel(ray, trainers):
    address = ray.get(trainers[0].address.remote(), timeout=LOADING_SECONDS)
    found = [trainer.train_by_torch.remote(address) for trainer in trainers]
    require_the_weights_of_one_process(ray.get(found, timeout=LOADING_SECONDS))


def test_gradients_averaged_by_the_collective_library(ray, trainers):
    found = [trainer.train_by_collective.remote() for trainer in trainers]
    require_the_weights_of_one_process(ray.get(found, timeout=LOADING_SECONDS))
