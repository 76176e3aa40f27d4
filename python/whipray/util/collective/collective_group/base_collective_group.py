"""What each backend implements."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import Any

from whipray.util.collective.types import (
    AllGatherOptions,
    AllReduceOptions,
    BarrierOptions,
    BroadcastOptions,
    RecvOptions,
    ReduceOptions,
    ReduceScatterOptions,
    SendOptions,
)


class BaseGroup(metaclass=ABCMeta):
    """The membership of this process in a group.

    Operations take a list with the one tensor of this process, and work in place.
    """

    def __init__(self, world_size: int, rank: int, group_name: str) -> None:
        self._world_size = world_size
        self._rank = rank
        self._group_name = group_name

    @property
    def rank(self) -> int:
        """The place of this process in the group, from 0."""
        return self._rank

    @property
    def world_size(self) -> int:
        """How many processes the group has."""
        return self._world_size

    @property
    def group_name(self) -> str:
        """The name of the group."""
        return self._group_name

    def destroy_group(self) -> None:  # noqa: B027  (a backend may have nothing to let go of)
        """Let go of connections."""

    @classmethod
    @abstractmethod
    def backend(cls) -> Any:
        """The name of the backend."""

    @classmethod
    @abstractmethod
    def check_backend_availability(cls) -> bool:
        """Whether the backend works on this machine."""

    @abstractmethod
    def allreduce(
        self,
        tensor: Any,
        allreduce_options: AllReduceOptions = AllReduceOptions(),  # noqa: B008
    ) -> None:
        """Reduce the tensors of all to one, which all get."""

    @abstractmethod
    def barrier(self, barrier_options: BarrierOptions = BarrierOptions()) -> None:  # noqa: B008
        """Wait until all are here."""

    @abstractmethod
    def reduce(
        self,
        tensor: Any,
        reduce_options: ReduceOptions = ReduceOptions(),  # noqa: B008
    ) -> None:
        """Reduce the tensors of all to one, which the root gets."""

    @abstractmethod
    def allgather(
        self,
        tensor_list: Any,
        tensor: Any,
        allgather_options: AllGatherOptions = AllGatherOptions(),  # noqa: B008
    ) -> None:
        """Give all the tensors of all, in a list of a list."""

    @abstractmethod
    def broadcast(
        self,
        tensor: Any,
        broadcast_options: BroadcastOptions = BroadcastOptions(),  # noqa: B008
    ) -> None:
        """Give all the tensor of the root."""

    @abstractmethod
    def reducescatter(
        self,
        tensor: Any,
        tensor_list: Any,
        reducescatter_options: ReduceScatterOptions = ReduceScatterOptions(),  # noqa: B008
    ) -> None:
        """Reduce the lists (each in a list) of all item by item; each gets the one of its rank."""

    @abstractmethod
    def send(self, tensor: Any, send_options: SendOptions) -> None:
        """Send a tensor to one process."""

    @abstractmethod
    def recv(self, tensor: Any, recv_options: RecvOptions) -> None:
        """Receive a tensor from one process."""
