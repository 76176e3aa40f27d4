"""Operations of processes with several GPUs each, as operations of processes with one.

The tensors of a process come together on the GPU of the first one. The others exchange theirs with
that, and it exchanges with the other processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from whipray.util.collective.collective_group.base_collective_group import BaseGroup
from whipray.util.collective.types import (
    AllGatherOptions,
    AllReduceOptions,
    BroadcastOptions,
    RecvOptions,
    ReduceOp,
    ReduceOptions,
    ReduceScatterOptions,
    SendOptions,
)

if TYPE_CHECKING:
    import torch


def allreduce(group: BaseGroup, tensors: list[Any], op: ReduceOp) -> None:
    """Reduce all tensors of all processes to one, which is then in each."""
    total = _reduced(tensors, op)
    options = AllReduceOptions()
    options.reduceOp = op
    group.allreduce([total], options)
    _give_all(tensors, total)


def reduce(group: BaseGroup, tensors: list[Any], rank: int, index: int, op: ReduceOp) -> None:
    """Reduce all tensors of all to one, which is then in ``tensors[index]`` of ``rank``."""
    total = _reduced(tensors, op)
    options = ReduceOptions()
    options.reduceOp = op
    options.root_rank = rank
    group.reduce([total], options)
    if group.rank == rank:
        tensors[index].copy_(total)


def broadcast(group: BaseGroup, tensors: list[Any], rank: int, index: int) -> None:
    """Have ``tensors[index]`` of ``rank`` in all tensors of all processes."""
    value = tensors[index].to(tensors[0].device, copy=True).contiguous()
    options = BroadcastOptions()
    options.root_rank = rank
    group.broadcast([value], options)
    _give_all(tensors, value)


def allgather(group: BaseGroup, outputs: list[list[Any]], tensors: list[Any]) -> None:
    """Have all tensors of all processes in each list, by rank and by index."""
    import torch

    mine = _stacked(tensors)
    gathered = [torch.empty_like(mine) for _ in range(group.world_size)]
    group.allgather([gathered], [mine], AllGatherOptions())
    values = [value for of_rank in gathered for value in of_rank]
    for output in outputs:
        for target, value in zip(output, values):
            target.copy_(value)


def reducescatter(
    group: BaseGroup, tensors: list[Any], inputs: list[list[Any]], op: ReduceOp
) -> None:
    """Reduce all lists of all processes item by item; each tensor is then the item at its place
    among all tensors, by rank and by index."""
    import torch

    totals = [_reduced(list(items), op) for items in zip(*inputs)]
    count = len(tensors)
    by_rank = [
        _stacked(totals[rank * count : (rank + 1) * count]) for rank in range(group.world_size)
    ]
    mine = torch.empty_like(by_rank[0])
    options = ReduceScatterOptions()
    options.reduceOp = op
    group.reducescatter([mine], [by_rank], options)
    for target, value in zip(tensors, mine):
        target.copy_(value)


def send(group: BaseGroup, tensor: Any, rank: int, n_elements: int) -> None:
    """Send the first elements of a tensor, all where ``n_elements`` is 0."""
    options = SendOptions()
    options.dst_rank = rank
    options.n_elements = n_elements
    group.send([_first(tensor, n_elements)], options)


def recv(group: BaseGroup, tensor: Any, rank: int, n_elements: int) -> None:
    """Receive the first elements of a tensor, all where ``n_elements`` is 0."""
    import torch

    options = RecvOptions()
    options.src_rank = rank
    options.n_elements = n_elements
    part = torch.empty_like(_first(tensor, n_elements))
    group.recv([part], options)
    if n_elements:
        flat = tensor.reshape(-1)
        flat[:n_elements] = part
        part = flat.reshape(tensor.shape)
    tensor.copy_(part)


def check_operands(tensors: list[Any], lists: list[list[Any]], group: BaseGroup) -> None:
    """Raises RuntimeError where each tensor has not a list, with an item for all tensors."""
    count = len(tensors) * group.world_size
    if len(lists) != len(tensors) or any(len(items) != count for items in lists):
        raise RuntimeError(
            "there has to be a list for each tensor of this process, with an item for each tensor "
            f"of all processes: {len(tensors)} lists of {count}"
        )


def check_index(tensors: list[Any], index: int) -> None:
    """Raises ValueError for an index that the list does not have."""
    if not 0 <= index < len(tensors):
        raise ValueError(f"root tensor '{index}' is not among the {len(tensors)} of this process")


def _reduced(tensors: list[Any], op: ReduceOp) -> torch.Tensor:
    stacked = _stacked(tensors)
    if op is ReduceOp.SUM:
        return stacked.sum(0, dtype=stacked.dtype)
    if op is ReduceOp.PRODUCT:
        return stacked.prod(0, dtype=stacked.dtype)
    return stacked.amin(0) if op is ReduceOp.MIN else stacked.amax(0)


def _stacked(tensors: list[Any]) -> torch.Tensor:
    import torch

    device = tensors[0].device
    return torch.stack([tensor.detach().to(device) for tensor in tensors])


def _give_all(tensors: list[Any], value: Any) -> None:
    for tensor in tensors:
        tensor.copy_(value)


def _first(tensor: Any, n_elements: int) -> Any:
    return tensor.reshape(-1)[:n_elements] if n_elements else tensor
