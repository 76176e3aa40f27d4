"""Groups on GPUs, by NCCL: one GPU for each process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from whipray.util.collective.collective_group.torch_group import (
    OPERATION_TIMEOUT,
    REDUCTIONS,
    TorchGroup,
    copied,
    only,
    tensor_of,
)
from whipray.util.collective.rendezvous import ClusterStore
from whipray.util.collective.types import Backend, BarrierOptions, ReduceScatterOptions
from whipray.util.node_address import get_node_ip_address

_ADDRESS = "address"


class TorchNCCLGroup(TorchGroup):
    """Operations on tensors of torch on GPUs, in place.

    The group uses the GPU that is the current one when the process joins; tensors on other GPUs of
    the process are copied there and back. Operations are in the order of the current stream of
    CUDA, as those of torch are.
    """

    def __init__(self, world_size: int, rank: int, group_name: str) -> None:
        self._device = self._own_device()
        super().__init__(world_size, rank, group_name)

    def _own_device(self) -> torch.device:
        return torch.device("cuda", torch.cuda.current_device())

    def _connect(self, store: ClusterStore) -> Any:
        # Communicators are made when they are first needed, by a store that lives as long.
        self._store = self._store_of_group(store)
        processes = self._process_group(self._store)
        # Only then has everybody read what the others wrote.
        processes.allreduce([torch.zeros(1, device=self._device)]).wait()
        self._synchronize()
        return processes

    def _store_of_group(self, store: ClusterStore) -> dist.TCPStore:
        if self._rank == 0:
            host = get_node_ip_address()
            own = dist.TCPStore(
                host,
                0,
                is_master=True,
                timeout=OPERATION_TIMEOUT,
                wait_for_workers=False,
            )
            store.set(_ADDRESS, f"{host}:{own.port}")
            return own
        host, _, port = store.get(_ADDRESS).decode().rpartition(":")
        return dist.TCPStore(host, int(port), is_master=False, timeout=OPERATION_TIMEOUT)

    def _process_group(self, store: dist.Store) -> Any:
        options = dist.ProcessGroupNCCL.Options()
        options._timeout = OPERATION_TIMEOUT
        return dist.ProcessGroupNCCL(store, self._rank, self._world_size, options)

    def _synchronize(self) -> None:
        torch.cuda.synchronize(self._device)

    @classmethod
    def backend(cls) -> Any:
        return Backend.NCCL

    @classmethod
    def check_backend_availability(cls) -> bool:
        return dist.is_available() and dist.is_nccl_available() and torch.cuda.is_available()

    def destroy_group(self) -> None:
        super().destroy_group()
        self._store = None

    def barrier(self, barrier_options: BarrierOptions = BarrierOptions()) -> None:  # noqa: B008
        self._processes.allreduce([torch.zeros(1, device=self._device)]).wait()
        self._synchronize()

    def reducescatter(
        self,
        tensor: Any,
        tensor_list: Any,
        reducescatter_options: ReduceScatterOptions = ReduceScatterOptions(),  # noqa: B008
    ) -> None:
        options = dist.ReduceScatterOptions()
        options.reduceOp = REDUCTIONS[reducescatter_options.reduceOp]
        inputs = [self._input(item) for item in only(tensor_list)]
        with self._result(only(tensor)) as mine:
            self._processes.reduce_scatter([mine], [inputs], options).wait()

    @contextmanager
    def _result(self, value: Any) -> Iterator[torch.Tensor]:
        target = self._checked(value)
        there = target.to(self._device).contiguous()
        yield there
        if there.data_ptr() != target.data_ptr():
            target.copy_(there)

    def _input(self, value: Any) -> torch.Tensor:
        return self._checked(value).to(self._device).contiguous()

    def _scratch(self, value: Any) -> torch.Tensor:
        return copied(self._checked(value)).to(self._device)

    def _checked(self, value: Any) -> torch.Tensor:
        """Raises ValueError for what is not on a GPU."""
        if not isinstance(value, torch.Tensor) or value.device.type != self._device.type:
            is_tensor = isinstance(value, torch.Tensor)
            where = f"a tensor on {value.device}" if is_tensor else type(value)
            raise ValueError(
                f"groups of {self.backend()} take torch.Tensor on {self._device.type}, received "
                f"{where}"
            )
        return tensor_of(value)
