"""Groups on CPUs, by gloo: over a process group of torch that is not the program's default one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from whipray.util.collective.collective_group.base_collective_group import BaseGroup
from whipray.util.collective.rendezvous import meet
from whipray.util.collective.types import (
    AllGatherOptions,
    AllReduceOptions,
    Backend,
    BarrierOptions,
    BroadcastOptions,
    RecvOptions,
    ReduceOp,
    ReduceOptions,
    ReduceScatterOptions,
    SendOptions,
)
from whipray.util.node_address import get_node_ip_address

_DEFAULT_WAIT_MILLISECONDS = 30000

_OPERATION_TIMEOUT = timedelta(minutes=30)
"""How long one process may wait for the others in an operation, and all for the last to come."""

_REDUCTIONS = {
    ReduceOp.SUM: dist.ReduceOp.SUM,
    ReduceOp.PRODUCT: dist.ReduceOp.PRODUCT,
    ReduceOp.MIN: dist.ReduceOp.MIN,
    ReduceOp.MAX: dist.ReduceOp.MAX,
}


class TorchGLOOGroup(BaseGroup):
    """Operations on tensors of torch in main memory and arrays of numpy, in place."""

    def __init__(
        self, world_size: int, rank: int, group_name: str, gloo_timeout: int | None = None
    ) -> None:
        """Waits for all others. ``gloo_timeout`` is how long rank 0 may take to come, in
        milliseconds (30000).

        Raises TimeoutError where the others do not come.
        """
        super().__init__(world_size, rank, group_name)
        wait = timedelta(milliseconds=gloo_timeout or _DEFAULT_WAIT_MILLISECONDS)
        self._processes = meet(
            group_name, rank, world_size, wait, _OPERATION_TIMEOUT, self._connect
        )

    def _connect(self, store: dist.Store) -> Any:
        options = dist.ProcessGroupGloo._Options()
        options._timeout = _OPERATION_TIMEOUT
        options._devices = [dist.ProcessGroupGloo.create_device(hostname=get_node_ip_address())]
        processes = dist.ProcessGroupGloo(store, self._rank, self._world_size, options)
        # Only then has everybody read what the others wrote.
        processes.barrier().wait()
        return processes

    @classmethod
    def backend(cls) -> Any:
        return Backend.GLOO

    @classmethod
    def check_backend_availability(cls) -> bool:
        return dist.is_available() and dist.is_gloo_available()

    def destroy_group(self) -> None:
        self._processes = None

    def allreduce(
        self,
        tensor: Any,
        allreduce_options: AllReduceOptions = AllReduceOptions(),  # noqa: B008
    ) -> None:
        options = dist.AllreduceOptions()
        options.reduceOp = _REDUCTIONS[allreduce_options.reduceOp]
        with _in_place(_only(tensor)) as mine:
            self._processes.allreduce([mine], options).wait()

    def barrier(self, barrier_options: BarrierOptions = BarrierOptions()) -> None:  # noqa: B008
        self._processes.barrier().wait()

    def reduce(
        self,
        tensor: Any,
        reduce_options: ReduceOptions = ReduceOptions(),  # noqa: B008
    ) -> None:
        options = dist.ReduceOptions()
        options.reduceOp = _REDUCTIONS[reduce_options.reduceOp]
        options.rootRank = reduce_options.root_rank
        if self._rank == reduce_options.root_rank:
            with _in_place(_only(tensor)) as mine:
                self._processes.reduce([mine], options).wait()
        else:
            # The library uses the tensors of all as scratch space.
            self._processes.reduce([_copy(_only(tensor))], options).wait()

    def allgather(
        self,
        tensor_list: Any,
        tensor: Any,
        allgather_options: AllGatherOptions = AllGatherOptions(),  # noqa: B008
    ) -> None:
        outputs = _only(tensor_list)
        mine = _readable(_only(tensor))
        gathered = [torch.empty_like(mine) for _ in outputs]
        self._processes.allgather([gathered], [mine]).wait()
        for output, value in zip(outputs, gathered):
            _writable(output).copy_(value)

    def broadcast(
        self,
        tensor: Any,
        broadcast_options: BroadcastOptions = BroadcastOptions(),  # noqa: B008
    ) -> None:
        options = dist.BroadcastOptions()
        options.rootRank = broadcast_options.root_rank
        options.rootTensor = 0
        if self._rank == broadcast_options.root_rank:
            self._processes.broadcast([_readable(_only(tensor))], options).wait()
        else:
            with _in_place(_only(tensor)) as mine:
                self._processes.broadcast([mine], options).wait()

    def reducescatter(
        self,
        tensor: Any,
        tensor_list: Any,
        reducescatter_options: ReduceScatterOptions = ReduceScatterOptions(),  # noqa: B008
    ) -> None:
        output = _writable(_only(tensor))
        inputs = [_copy(item) for item in _only(tensor_list)]
        own = inputs[self._rank]
        if output.shape != own.shape:
            raise ValueError(
                f"Output tensor has wrong shape {tuple(output.shape)}, expected {tuple(own.shape)}"
            )
        options = dist.ReduceOptions()
        options.reduceOp = _REDUCTIONS[reducescatter_options.reduceOp]
        for rank, item in enumerate(inputs):
            options.rootRank = rank
            self._processes.reduce([item], options).wait()
        output.copy_(own)

    def send(self, tensor: Any, send_options: SendOptions) -> None:
        self._processes.send([_readable(_only(tensor))], send_options.dst_rank, 0).wait()

    def recv(self, tensor: Any, recv_options: RecvOptions) -> None:
        with _in_place(_only(tensor)) as mine:
            self._processes.recv([mine], recv_options.src_rank, 0).wait()


def _only(items: Any) -> Any:
    if not isinstance(items, list) or len(items) != 1:
        raise ValueError("a process has one tensor in an operation")
    return items[0]


def _tensor(value: Any) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    raise ValueError(f"groups take torch.Tensor or numpy.ndarray, received {type(value)}")


def _writable(value: Any) -> torch.Tensor:
    """The tensor over the memory of ``value``. Raises ValueError where that is read-only."""
    if isinstance(value, np.ndarray) and not value.flags.writeable:
        raise ValueError(
            "the result cannot be written into a read-only array: arrays that come from the "
            "object store are, and have to be copied first"
        )
    return _tensor(value)


def _copy(value: Any) -> torch.Tensor:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    return _tensor(value).clone(memory_format=torch.contiguous_format)


def _readable(value: Any) -> torch.Tensor:
    """A contiguous tensor with this value, which nobody writes to."""
    if isinstance(value, np.ndarray) and not value.flags.writeable:
        return _copy(value)
    return _tensor(value).contiguous()


@contextmanager
def _in_place(value: Any) -> Iterator[torch.Tensor]:
    """A contiguous tensor, whose content ``value`` has afterwards."""
    target = _writable(value)
    contiguous = target.contiguous()
    yield contiguous
    if contiguous.data_ptr() != target.data_ptr():
        target.copy_(contiguous)
