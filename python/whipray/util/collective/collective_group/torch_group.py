"""What groups over torch have in common: a process group that is not the program's default one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from whipray.util.collective.collective_group.base_collective_group import BaseGroup
from whipray.util.collective.rendezvous import ClusterStore, meet
from whipray.util.collective.types import (
    AllGatherOptions,
    AllReduceOptions,
    BarrierOptions,
    BroadcastOptions,
    RecvOptions,
    ReduceOp,
    ReduceOptions,
    ReduceScatterOptions,
    SendOptions,
)

_DEFAULT_WAIT_MILLISECONDS = 30000

OPERATION_TIMEOUT = timedelta(minutes=30)
"""How long one process may wait for the others in an operation, and all for the last to come."""

REDUCTIONS = {
    ReduceOp.SUM: dist.ReduceOp.SUM,
    ReduceOp.PRODUCT: dist.ReduceOp.PRODUCT,
    ReduceOp.MIN: dist.ReduceOp.MIN,
    ReduceOp.MAX: dist.ReduceOp.MAX,
}


class TorchGroup(BaseGroup):
    """Operations on tensors of torch and arrays of numpy, in place."""

    def __init__(
        self, world_size: int, rank: int, group_name: str, wait_milliseconds: int | None = None
    ) -> None:
        """Waits for all others. ``wait_milliseconds`` is how long rank 0 may take to come (30000).

        Raises TimeoutError where the others do not come.
        """
        super().__init__(world_size, rank, group_name)
        wait = timedelta(milliseconds=wait_milliseconds or _DEFAULT_WAIT_MILLISECONDS)
        self._processes: Any = meet(
            group_name, rank, world_size, wait, OPERATION_TIMEOUT, self._connect
        )

    @abstractmethod
    def _connect(self, store: ClusterStore) -> Any:
        """The process group, when all have read from the store what they need."""

    @contextmanager
    def _result(self, value: Any) -> Iterator[torch.Tensor]:
        """A tensor for the process group, whose content ``value`` has afterwards."""
        with in_place(value) as tensor:
            yield tensor

    def _input(self, value: Any) -> torch.Tensor:
        """A tensor for the process group with this value, which nobody writes to."""
        return readable(value)

    def _scratch(self, value: Any) -> torch.Tensor:
        """A tensor for the process group with this value, which it may write to."""
        return copied(value)

    def destroy_group(self) -> None:
        self._processes = None

    def allreduce(
        self,
        tensor: Any,
        allreduce_options: AllReduceOptions = AllReduceOptions(),  # noqa: B008
    ) -> None:
        options = dist.AllreduceOptions()
        options.reduceOp = REDUCTIONS[allreduce_options.reduceOp]
        with self._result(only(tensor)) as mine:
            self._processes.allreduce([mine], options).wait()

    def barrier(self, barrier_options: BarrierOptions = BarrierOptions()) -> None:  # noqa: B008
        self._processes.barrier().wait()

    def reduce(
        self,
        tensor: Any,
        reduce_options: ReduceOptions = ReduceOptions(),  # noqa: B008
    ) -> None:
        options = dist.ReduceOptions()
        options.reduceOp = REDUCTIONS[reduce_options.reduceOp]
        options.rootRank = reduce_options.root_rank
        if self._rank == reduce_options.root_rank:
            with self._result(only(tensor)) as mine:
                self._processes.reduce([mine], options).wait()
        else:
            # The library uses the tensors of all as scratch space.
            self._processes.reduce([self._scratch(only(tensor))], options).wait()

    def allgather(
        self,
        tensor_list: Any,
        tensor: Any,
        allgather_options: AllGatherOptions = AllGatherOptions(),  # noqa: B008
    ) -> None:
        outputs = only(tensor_list)
        mine = self._input(only(tensor))
        gathered = [torch.empty_like(mine) for _ in outputs]
        self._processes.allgather([gathered], [mine]).wait()
        for output, value in zip(outputs, gathered):
            writable(output).copy_(value)

    def broadcast(
        self,
        tensor: Any,
        broadcast_options: BroadcastOptions = BroadcastOptions(),  # noqa: B008
    ) -> None:
        options = dist.BroadcastOptions()
        options.rootRank = broadcast_options.root_rank
        options.rootTensor = 0
        if self._rank == broadcast_options.root_rank:
            self._processes.broadcast([self._input(only(tensor))], options).wait()
        else:
            with self._result(only(tensor)) as mine:
                self._processes.broadcast([mine], options).wait()

    def reducescatter(
        self,
        tensor: Any,
        tensor_list: Any,
        reducescatter_options: ReduceScatterOptions = ReduceScatterOptions(),  # noqa: B008
    ) -> None:
        output = writable(only(tensor))
        inputs = [self._scratch(item) for item in only(tensor_list)]
        own = inputs[self._rank]
        if output.shape != own.shape:
            raise ValueError(
                f"Output tensor has wrong shape {tuple(output.shape)}, expected {tuple(own.shape)}"
            )
        options = dist.ReduceOptions()
        options.reduceOp = REDUCTIONS[reducescatter_options.reduceOp]
        for rank, item in enumerate(inputs):
            options.rootRank = rank
            self._processes.reduce([item], options).wait()
        output.copy_(own)

    def send(self, tensor: Any, send_options: SendOptions) -> None:
        self._processes.send([self._input(only(tensor))], send_options.dst_rank, 0).wait()

    def recv(self, tensor: Any, recv_options: RecvOptions) -> None:
        with self._result(only(tensor)) as mine:
            self._processes.recv([mine], recv_options.src_rank, 0).wait()


def only(items: Any) -> Any:
    """The one tensor of this process. Raises ValueError for any other number."""
    if not isinstance(items, list) or len(items) != 1:
        raise ValueError("a process has one tensor in an operation")
    return items[0]


def tensor_of(value: Any) -> torch.Tensor:
    """The tensor over the memory of a value. Raises ValueError for what has none."""
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    raise ValueError(f"groups take torch.Tensor or numpy.ndarray, received {type(value)}")


def writable(value: Any) -> torch.Tensor:
    """The tensor over the memory of ``value``. Raises ValueError where that is read-only."""
    if isinstance(value, np.ndarray) and not value.flags.writeable:
        raise ValueError(
            "the result cannot be written into a read-only array: arrays that come from the "
            "object store are, and have to be copied first"
        )
    return tensor_of(value)


def copied(value: Any) -> torch.Tensor:
    """A contiguous tensor with this value, in memory of its own."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    return tensor_of(value).clone(memory_format=torch.contiguous_format)


def readable(value: Any) -> torch.Tensor:
    """A contiguous tensor with this value, which nobody writes to."""
    if isinstance(value, np.ndarray) and not value.flags.writeable:
        return copied(value)
    return tensor_of(value).contiguous()


@contextmanager
def in_place(value: Any) -> Iterator[torch.Tensor]:
    """A contiguous tensor, whose content ``value`` has afterwards."""
    target = writable(value)
    contiguous = target.contiguous()
    yield contiguous
    if contiguous.data_ptr() != target.data_ptr():
        target.copy_(contiguous)
