"""Groups on CPUs, by gloo."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

from whipray.util.collective.collective_group.torch_group import OPERATION_TIMEOUT, TorchGroup
from whipray.util.collective.rendezvous import ClusterStore
from whipray.util.collective.types import Backend
from whipray.util.node_address import get_node_ip_address


class TorchGLOOGroup(TorchGroup):
    """Operations on tensors of torch in main memory and arrays of numpy, in place."""

    def __init__(
        self, world_size: int, rank: int, group_name: str, gloo_timeout: int | None = None
    ) -> None:
        """``gloo_timeout`` is how long rank 0 may take to come, in milliseconds (30000)."""
        super().__init__(world_size, rank, group_name, gloo_timeout)

    def _connect(self, store: ClusterStore) -> Any:
        options = dist.ProcessGroupGloo._Options()
        options._timeout = OPERATION_TIMEOUT
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
