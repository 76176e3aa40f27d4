"""Names of backends and reductions, and what an operation is told besides tensors."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from typing import Any

unset_timeout_ms = timedelta(milliseconds=-1)
"""The backend's own bound."""


class Backend:
    """Names of backends; ``Backend(name)`` is the name as the library writes it.

    Raises ValueError for a name that nobody registered.
    """

    NCCL = "NCCL"
    GLOO = "GLOO"
    UNRECOGNIZED = "unrecognized"

    def __new__(cls, name: str) -> Any:
        upper = name.upper()
        if upper == "TORCH_GLOO":
            return Backend.GLOO
        backend = getattr(Backend, upper, Backend.UNRECOGNIZED)
        if backend == Backend.UNRECOGNIZED:
            raise ValueError(f"Unrecognized backend: '{name}'. Only NCCL and GLOO are supported")
        return backend


class ReduceOp(enum.Enum):
    """How the tensors of several processes become one."""

    SUM = 0
    PRODUCT = 1
    MIN = 2
    MAX = 3


@dataclass
class AllReduceOptions:
    """Of ``allreduce``."""

    reduceOp = ReduceOp.SUM
    timeout_ms = unset_timeout_ms


@dataclass
class BarrierOptions:
    """Of ``barrier``."""

    timeout_ms = unset_timeout_ms


@dataclass
class ReduceOptions:
    """Of ``reduce``."""

    reduceOp = ReduceOp.SUM
    root_rank = 0
    root_tensor = 0
    timeout_ms = unset_timeout_ms


@dataclass
class AllGatherOptions:
    """Of ``allgather``."""

    timeout_ms = unset_timeout_ms


@dataclass
class BroadcastOptions:
    """Of ``broadcast``."""

    root_rank = 0
    root_tensor = 0
    timeout_ms = unset_timeout_ms


@dataclass
class ReduceScatterOptions:
    """Of ``reducescatter``."""

    reduceOp = ReduceOp.SUM
    timeout_ms = unset_timeout_ms


@dataclass
class SendOptions:
    """Of ``send``."""

    dst_rank = 0
    dst_gpu_index = 0
    n_elements = 0
    timeout_ms = unset_timeout_ms


@dataclass
class RecvOptions:
    """Of ``recv``."""

    src_rank = 0
    src_gpu_index = 0
    n_elements = 0
    unset_timeout_ms = unset_timeout_ms


def torch_available() -> bool:
    """Whether PyTorch is installed."""
    return find_spec("torch") is not None


def cupy_available() -> bool:
    """Whether CuPy is installed."""
    return find_spec("cupy") is not None
