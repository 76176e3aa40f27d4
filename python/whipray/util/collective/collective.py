"""Operations of groups of actors or tasks on tensors, in place.

A process joins a group by :func:`init_collective_group`, or a driver declares the group by
:func:`create_collective_group`, and each actor joins at its first operation. Each process of the
group has to take part in an operation; it waits for the others.
"""

from __future__ import annotations

import sys
import threading
from importlib.util import find_spec
from typing import Any

from whipray import _session
from whipray.util.collective import multigpu, types
from whipray.util.collective.backend_registry import _global_registry, register_collective_backend
from whipray.util.collective.collective_group.base_collective_group import BaseGroup
from whipray.util.collective.group_manager import Declaration, GroupManager
from whipray.util.collective.tensor_checks import (
    check_list,
    check_other,
    check_rank,
    check_tensor,
    check_tensor_of_torch,
    check_tensors,
)

if find_spec("torch") is not None and not _global_registry.is_registered("GLOO"):
    from whipray.util.collective.collective_group.torch_gloo_collective_group import TorchGLOOGroup

    register_collective_backend("GLOO", TorchGLOOGroup)
if find_spec("torch") is not None and not _global_registry.is_registered("NCCL"):
    from whipray.util.collective.collective_group.torch_nccl_collective_group import TorchNCCLGroup

    register_collective_backend("NCCL", TorchNCCLGroup)

_group_mgr = GroupManager()
_group_mgr_lock = threading.Lock()


def nccl_available() -> bool:
    """Whether there is the backend for GPUs: PyTorch with NCCL, and a GPU that it sees."""
    return is_backend_available("NCCL")


def gloo_available() -> bool:
    """Whether there is the backend for CPUs, which needs PyTorch."""
    return is_backend_available("GLOO")


def is_backend_available(backend: str) -> bool:
    """Whether there is a backend of this name, and it works on this machine."""
    return _global_registry.check(backend)


def is_group_initialized(group_name: str) -> bool:
    """Whether this process has joined the group."""
    with _group_mgr_lock:
        return _group_mgr.is_group_exist(group_name)


def init_collective_group(
    world_size: int,
    rank: int,
    backend: Any = types.Backend.NCCL,
    group_name: str = "default",
    gloo_timeout: int = 30000,
) -> None:
    """Join a group of ``world_size`` processes as number ``rank``, and wait for the others.

    ``gloo_timeout`` is how long rank 0 may take to come, in milliseconds.

    Raises RuntimeError outside of actors and tasks, and where the group is joined already,
    ValueError without a name and for an unknown backend, AssertionError for a rank that the group
    does not have, TimeoutError where the others do not come.
    """
    _check_inside_actor()
    if not group_name:
        raise ValueError(f"group_name '{group_name}' needs to be a string.")
    with _group_mgr_lock:
        if _group_mgr.is_group_exist(group_name):
            raise RuntimeError("Trying to initialize a group a second time.")
        assert world_size > 0, f"world_size is above 0, not {world_size}"
        assert 0 <= rank < world_size, f"rank is from 0 to {world_size - 1}, not {rank}"
        _group_mgr.create_collective_group(backend, world_size, rank, group_name, gloo_timeout)


def create_collective_group(
    actors: list[Any],
    world_size: int,
    ranks: list[int],
    backend: Any = types.Backend.NCCL,
    group_name: str = "default",
    gloo_timeout: int = 30000,
) -> None:
    """Declare, in a driver, that actors are a group; each has the rank at its place in ``ranks``.

    Raises RuntimeError for ranks that do not fit, an unknown backend, and a name that is taken.
    """
    if Declaration.find(group_name) is not None:
        raise RuntimeError("Trying to initialize a group twice.")
    if len(ranks) != len(actors):
        raise RuntimeError(
            f"Each actor should correspond to one rank. Got '{len(ranks)}' ranks but "
            f"'{len(actors)}' actors"
        )
    if set(ranks) != set(range(len(ranks))):
        raise RuntimeError(
            f"Ranks must be a permutation from 0 to '{len(ranks)}'. Got "
            f"'{''.join(str(rank) for rank in ranks)}'."
        )
    if world_size <= 0:
        raise RuntimeError(f"World size must be greater than zero. Got '{world_size}'.")
    if len(ranks) > world_size:
        raise RuntimeError("Ranks cannot be greater than world_size.")
    name = backend.upper()
    if not _global_registry.is_registered(name):
        raise RuntimeError(
            f"Backend {name} is not registered. Please register it using "
            f"register_collective_backend('{name}', YourBackendClass)."
        )
    if not _global_registry.check(name):
        raise RuntimeError(
            f"Backend {name} is registered but not available. Please check the installation "
            "requirements for this backend."
        )
    actor_ids = [actor._ray_actor_id.hex() for actor in actors]
    declaration = Declaration(actor_ids, world_size, list(ranks), name, gloo_timeout)
    if not declaration.publish(group_name):
        raise RuntimeError("Trying to initialize a group twice.")


def destroy_collective_group(group_name: str = "default") -> None:
    """Leave a group. Raises RuntimeError outside of actors and tasks."""
    _check_inside_actor()
    with _group_mgr_lock:
        _group_mgr.destroy_collective_group(group_name)


def get_rank(group_name: str = "default") -> int:
    """The number of this process in the group, -1 where it has not joined it.

    Raises RuntimeError outside of actors and tasks.
    """
    group = _joined(group_name)
    return -1 if group is None else group.rank


def get_collective_group_size(group_name: str = "default") -> int:
    """How many processes the group has, -1 where this one has not joined it.

    Raises RuntimeError outside of actors and tasks.
    """
    group = _joined(group_name)
    return -1 if group is None else group.world_size


def _joined(group_name: str) -> BaseGroup | None:
    """The group, where this process has joined it."""
    _check_inside_actor()
    with _group_mgr_lock:
        known = _group_mgr.is_group_exist(group_name)
        return _group_mgr.get_group_by_name(group_name) if known else None


def get_group_handle(group_name: str = "default") -> BaseGroup:
    """The group, which this process joins now where that is declared.

    Raises RuntimeError where this process does not belong to it, and outside of actors and tasks.
    """
    _check_inside_actor()
    with _group_mgr_lock:
        return _group_mgr.joined(group_name)


def allreduce(
    tensor: Any, group_name: str = "default", op: types.ReduceOp = types.ReduceOp.SUM
) -> None:
    """Reduce the tensors of all to one, which is then in ``tensor`` of all."""
    check_tensor(tensor)
    options = types.AllReduceOptions()
    options.reduceOp = op
    get_group_handle(group_name).allreduce([tensor], options)


def barrier(group_name: str = "default") -> None:
    """Wait until all processes of the group are here."""
    get_group_handle(group_name).barrier()


def reduce(
    tensor: Any,
    dst_rank: int = 0,
    group_name: str = "default",
    op: types.ReduceOp = types.ReduceOp.SUM,
) -> None:
    """Reduce the tensors of all to one, which is then in ``tensor`` of ``dst_rank``."""
    check_tensor(tensor)
    group = get_group_handle(group_name)
    check_rank(group, dst_rank)
    options = types.ReduceOptions()
    options.reduceOp = op
    options.root_rank = dst_rank
    group.reduce([tensor], options)


def broadcast(tensor: Any, src_rank: int = 0, group_name: str = "default") -> None:
    """Have the tensor of ``src_rank`` in ``tensor`` of all."""
    check_tensor(tensor)
    group = get_group_handle(group_name)
    check_rank(group, src_rank)
    options = types.BroadcastOptions()
    options.root_rank = src_rank
    group.broadcast([tensor], options)


def allgather(tensor_list: list[Any], tensor: Any, group_name: str = "default") -> None:
    """Have the tensors of all in ``tensor_list``, in the order of their ranks."""
    check_tensor(tensor)
    check_list(tensor_list)
    group = get_group_handle(group_name)
    check_tensors(tensor_list, group, "allgather")
    group.allgather([tensor_list], [tensor], types.AllGatherOptions())


def reducescatter(
    tensor: Any,
    tensor_list: list[Any],
    group_name: str = "default",
    op: types.ReduceOp = types.ReduceOp.SUM,
) -> None:
    """Reduce the lists of all item by item; ``tensor`` is then the item of this process's rank."""
    check_tensor(tensor)
    check_list(tensor_list)
    group = get_group_handle(group_name)
    check_tensors(tensor_list, group, "reducescatter")
    options = types.ReduceScatterOptions()
    options.reduceOp = op
    group.reducescatter([tensor], [tensor_list], options)


def send(tensor: Any, dst_rank: int, group_name: str = "default") -> None:
    """Send a tensor to ``dst_rank``, which receives it by :func:`recv`."""
    check_tensor(tensor)
    group = get_group_handle(group_name)
    check_other(group, dst_rank)
    options = types.SendOptions()
    options.dst_rank = dst_rank
    group.send([tensor], options)


def recv(tensor: Any, src_rank: int, group_name: str = "default") -> None:
    """Have in ``tensor`` what ``src_rank`` sends by :func:`send`; shapes and types are the same."""
    check_tensor(tensor)
    group = get_group_handle(group_name)
    check_other(group, src_rank)
    options = types.RecvOptions()
    options.src_rank = src_rank
    group.recv([tensor], options)


def allreduce_multigpu(
    tensor_list: list[Any],
    group_name: str = "default",
    op: types.ReduceOp = types.ReduceOp.SUM,
) -> None:
    """Reduce the tensors of all to one, which is then in each.

    This and the other operations with this ending are for processes with several tensors, each on
    a GPU of its own. Tensors are those of torch. Raises RuntimeError for others.
    """
    check_list(tensor_list, check_tensor_of_torch)
    multigpu.allreduce(get_group_handle(group_name), tensor_list, op)


def reduce_multigpu(
    tensor_list: list[Any],
    dst_rank: int = 0,
    dst_tensor: int = 0,
    group_name: str = "default",
    op: types.ReduceOp = types.ReduceOp.SUM,
) -> None:
    """Reduce the tensors of all to one, which is then in tensor ``dst_tensor`` of ``dst_rank``."""
    check_list(tensor_list, check_tensor_of_torch)
    group = get_group_handle(group_name)
    check_rank(group, dst_rank)
    multigpu.check_index(tensor_list, dst_tensor)
    multigpu.reduce(group, tensor_list, dst_rank, dst_tensor, op)


def broadcast_multigpu(
    tensor_list: list[Any],
    src_rank: int = 0,
    src_tensor: int = 0,
    group_name: str = "default",
) -> None:
    """Have tensor ``src_tensor`` of ``src_rank`` in all tensors of all."""
    check_list(tensor_list, check_tensor_of_torch)
    group = get_group_handle(group_name)
    check_rank(group, src_rank)
    multigpu.check_index(tensor_list, src_tensor)
    multigpu.broadcast(group, tensor_list, src_rank, src_tensor)


def allgather_multigpu(
    output_tensor_lists: list[list[Any]],
    input_tensor_list: list[Any],
    group_name: str = "default",
) -> None:
    """Have the tensors of all in each of the lists, by rank and by place."""
    check_list(input_tensor_list, check_tensor_of_torch)
    for tensors in output_tensor_lists:
        check_list(tensors, check_tensor_of_torch)
    group = get_group_handle(group_name)
    multigpu.check_operands(input_tensor_list, output_tensor_lists, group)
    multigpu.allgather(group, output_tensor_lists, input_tensor_list)


def reducescatter_multigpu(
    output_tensor_list: list[Any],
    input_tensor_lists: list[list[Any]],
    group_name: str = "default",
    op: types.ReduceOp = types.ReduceOp.SUM,
) -> None:
    """Reduce all lists of all item by item; a tensor is then the item of its rank and place."""
    check_list(output_tensor_list, check_tensor_of_torch)
    for tensors in input_tensor_lists:
        check_list(tensors, check_tensor_of_torch)
    group = get_group_handle(group_name)
    multigpu.check_operands(output_tensor_list, input_tensor_lists, group)
    multigpu.reducescatter(group, output_tensor_list, input_tensor_lists, op)


def send_multigpu(
    tensor: Any,
    dst_rank: int,
    dst_gpu_index: int,
    group_name: str = "default",
    n_elements: int = 0,
) -> None:
    """Send a tensor, or its first ``n_elements``, to ``dst_rank``: :func:`recv_multigpu` takes it.

    The receiver says by its tensor on which GPU it wants it; ``dst_gpu_index`` has no effect.
    """
    check_tensor_of_torch(tensor)
    group = get_group_handle(group_name)
    check_other(group, dst_rank)
    _check_elements(tensor, n_elements)
    multigpu.send(group, tensor, dst_rank, n_elements)


def recv_multigpu(
    tensor: Any,
    src_rank: int,
    src_gpu_index: int,
    group_name: str = "default",
    n_elements: int = 0,
) -> None:
    """Have in ``tensor``, or its first ``n_elements``, what ``src_rank`` sends.

    ``src_gpu_index`` has no effect.
    """
    check_tensor_of_torch(tensor)
    group = get_group_handle(group_name)
    check_other(group, src_rank)
    _check_elements(tensor, n_elements)
    multigpu.recv(group, tensor, src_rank, n_elements)


def synchronize(gpu_id: int) -> None:
    """Wait for what was begun on a GPU of this process. Raises RuntimeError without a GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        raise RuntimeError("synchronize() needs a GPU, and PyTorch that sees it")
    torch.cuda.synchronize(gpu_id)


def _check_elements(tensor: Any, n_elements: int) -> None:
    if not 0 <= n_elements <= tensor.numel():
        raise RuntimeError(
            f"The n_elements '{n_elements}' should be from 0 to {tensor.numel()}, the elements of "
            "the tensor."
        )


def _check_inside_actor() -> None:
    if _session.current.role != _session.WORKER:
        raise RuntimeError("The collective APIs shall be only used inside a Ray actor or task.")
