"""Groups on GPUs, as far as they can be tried without one: gloo stands in for NCCL."""

import pytest

torch = pytest.importorskip("torch")

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.whipray_only]

LOADING_SECONDS = 170


def run_in_two(ray, function):
    @ray.remote(num_cpus=1)
    class Member:
        def run(self, rank):
            return function(rank)

    made = [Member.remote() for _ in range(2)]
    try:
        found = [member.run.remote(rank) for rank, member in enumerate(made)]
        return ray.get(found, timeout=LOADING_SECONDS)
    finally:
        for member in made:
            ray.kill(member)


def use(collective, rank):
    """What the operations give, of two processes with two tensors each."""

    def pair(*numbers):
        return [torch.full((2,), float(number)) for number in numbers]

    found = {}
    tensors = pair(2 * rank, 2 * rank + 1)
    collective.allreduce_multigpu(tensors)
    found["allreduce"] = [tensor.tolist() for tensor in tensors]
    tensors = pair(2 * rank, 2 * rank + 1)
    collective.reduce_multigpu(tensors, 1, 1, op=collective.types.ReduceOp.MAX)
    found["reduce"] = [tensor.tolist() for tensor in tensors]
    tensors = pair(2 * rank, 2 * rank + 1)
    collective.broadcast_multigpu(tensors, 1, 0)
    found["broadcast"] = [tensor.tolist() for tensor in tensors]
    outputs = [pair(0, 0, 0, 0) for _ in range(2)]
    collective.allgather_multigpu(outputs, pair(2 * rank, 2 * rank + 1))
    found["allgather"] = [[tensor[0].item() for tensor in output] for output in outputs]
    tensors = pair(0, 0)
    collective.reducescatter_multigpu(tensors, [pair(1, 2, 3, 4), pair(10, 20, 30, 40)])
    found["reducescatter"] = [tensor.tolist() for tensor in tensors]
    tensor = torch.arange(4.0) * (1 - rank)
    if rank == 0:
        collective.send_multigpu(tensor, 1, 0, n_elements=3)
    else:
        collective.recv_multigpu(tensor, 0, 0, n_elements=3)
    found["send"] = tensor.tolist()
    collective.barrier()
    return found


def require_the_results(found):
    both = [2.0, 2.0]
    for rank, results in enumerate(found):
        assert results["allreduce"] == [[6.0, 6.0]] * 2
        untouched = [[0.0, 0.0], [1.0, 1.0]]
        assert results["reduce"] == (untouched if rank == 0 else [both, [3.0, 3.0]])
        assert results["broadcast"] == [both] * 2
        assert results["allgather"] == [[0.0, 1.0, 2.0, 3.0]] * 2
        sums = [[22.0, 22.0], [44.0, 44.0]] if rank == 0 else [[66.0, 66.0], [88.0, 88.0]]
        assert results["reducescatter"] == sums
        assert results["send"] == ([0.0, 1.0, 2.0, 3.0] if rank == 0 else [0.0, 1.0, 2.0, 0.0])


def test_several_tensors_of_a_process(ray, cluster):
    def run(rank):
        from whipray.util.collective import collective

        collective.init_collective_group(2, rank, "gloo")
        return use(collective, rank)

    require_the_results(run_in_two(ray, run))


def test_the_group_of_nccl_with_gloo_in_its_place(ray, cluster):
    def run(rank):
        import torch.distributed as dist
        from whipray.util.collective import collective
        from whipray.util.collective.collective_group.torch_nccl_collective_group import (
            TorchNCCLGroup,
        )

        class StandIn(TorchNCCLGroup):
            def _own_device(self):
                return torch.device("cpu")

            def _synchronize(self):
                pass

            def _process_group(self, store):
                return dist.ProcessGroupGloo(store, self._rank, self._world_size)

            @classmethod
            def check_backend_availability(cls):
                return True

        collective.register_collective_backend("STAND_IN", StandIn)
        collective.init_collective_group(2, rank, "stand_in")
        return use(collective, rank)

    require_the_results(run_in_two(ray, run))


def test_without_a_gpu(ray, cluster):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    from whipray.util.collective import collective

    assert not collective.nccl_available()
    with pytest.raises(RuntimeError, match="needs a GPU"):
        collective.synchronize(0)
    with pytest.raises(RuntimeError, match="not available"):
        collective.create_collective_group([], 1, [], "nccl", "gpus")
