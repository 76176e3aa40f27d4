"""What operations refuse before they begin."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from whipray.util.collective.collective_group.base_collective_group import BaseGroup

_TENSORS = (("numpy", "ndarray"), ("torch", "Tensor"), ("cupy", "ndarray"))


def check_tensor(tensor: Any) -> None:
    """Raises RuntimeError for what is no tensor of a library that is known."""
    for library, name in _TENSORS:
        # What is not loaded has made no tensor.
        module = sys.modules.get(library)
        if module is not None and isinstance(tensor, getattr(module, name)):
            return
    raise RuntimeError(
        f"Unrecognized tensor type '{type(tensor)}'. Supported types are: np.ndarray, "
        "torch.Tensor, cupy.ndarray."
    )


def check_tensor_of_torch(tensor: Any) -> None:
    """Raises RuntimeError for anything else."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(tensor, torch.Tensor):
        raise RuntimeError(
            f"Unrecognized tensor type '{type(tensor)}'. Operations on several GPUs take "
            "torch.Tensor."
        )


def check_tensors(tensors: Any, group: BaseGroup, operation: str) -> None:
    """Raises RuntimeError for what is no list of as many tensors as the group has processes."""
    if len(tensors) != group.world_size:
        raise RuntimeError(
            f"The length of the tensor list operands to {operation} must be equal to world_size."
        )


def check_list(tensors: Any, check: Callable[[Any], None] = check_tensor) -> None:
    """Raises RuntimeError for what is no list of tensors, or an empty one."""
    if not isinstance(tensors, list):
        raise RuntimeError(f"The input must be a list of tensors. Got '{type(tensors)}'.")
    if not tensors:
        raise RuntimeError("Got an empty list of tensors.")
    for tensor in tensors:
        check(tensor)


def check_rank(group: BaseGroup, rank: int) -> None:
    """Raises ValueError for a rank that the group does not have."""
    if rank < 0:
        raise ValueError(f"rank '{rank}' is negative.")
    if rank >= group.world_size:
        raise ValueError(f"rank '{rank}' must be less than world size '{group.world_size}'")


def check_other(group: BaseGroup, rank: int) -> None:
    """Raises as :func:`check_rank`, and RuntimeError for the rank of this process."""
    check_rank(group, rank)
    if rank == group.rank:
        raise RuntimeError(f"The destination rank '{rank}' is self.")
