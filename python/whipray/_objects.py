"""get, put, wait, cancel and kill."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from whipray import _core, _session
from whipray._core import ObjectRef, ObjectRefGenerator

if TYPE_CHECKING:
    from whipray.actor import ActorHandle

_session_of_process = _session.current
_get, _put = _core.get, _core.put


def get(
    object_refs: ObjectRef[Any] | Sequence[ObjectRef[Any]] | ObjectRefGenerator,
    *,
    timeout: float | None = None,
    _use_object_store: bool = False,
) -> Any:
    """Wait for the values of references: one value, or a list of values in the same order.

    ``timeout`` is in seconds; None and negative numbers wait for ever. Large arrays are views of
    shared memory and read-only.

    Raises what the task raised (as RayTaskError and the original type at once), GetTimeoutError
    after the timeout, ValueError or TypeError for what is no reference, and the exceptions of
    :mod:`whipray.exceptions` where a value cannot be had.
    """
    if not _session_of_process.role:
        _session.ensure()
    limit = None if timeout is not None and timeout < 0 else timeout
    try:
        return _get(object_refs, limit)
    except (TypeError, ValueError):
        # Only who has executed a compiled graph can have results of one.
        results = sys.modules.get("whipray.experimental.compiled_dag_ref")
        if results is None or not results.are_results(object_refs):
            raise
    return results.get_results(object_refs, timeout)


def put(value: Any, *, _owner: Any = None, _tensor_transport: str | None = None) -> ObjectRef[Any]:
    """Store a value; tasks and actors take the reference in its place.

    Raises TypeError for a reference and for what cannot be pickled, ObjectStoreFullError where the
    value does not fit.
    """
    if not _session_of_process.role:
        _session.ensure()
    if _owner is not None:
        raise ValueError("put() has no option _owner any more: who puts a value owns it.")
    if _tensor_transport is not None:
        raise ValueError("put() has one transport only: _tensor_transport must be None.")
    return _put(value)


def wait(
    ray_waitables: list[ObjectRef[Any]] | list[Any],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> tuple[list[Any], list[Any]]:
    """Wait until ``num_returns`` references are ready, or ``timeout`` seconds are over.

    Returns the ready ones (at most ``num_returns``) and the others, both in the given order. A task
    that failed counts as ready; a generator is ready once its next reference is there, or no more
    will come. With ``fetch_local`` the values of ready ones are on their way to this node, where
    they are on others.

    Raises TypeError for anything but a list of references, ValueError for repeated references and
    numbers out of range.
    """
    if not _session_of_process.role:
        _session.ensure()
    return _core.wait(ray_waitables, int(+num_returns), timeout, fetch_local)


def cancel(
    ray_waitable: ObjectRef[Any] | ObjectRefGenerator,
    *,
    force: bool = False,
    recursive: bool = True,
) -> None:
    """Cancel the task that makes a value; ``get`` of it then raises TaskCancelledError.

    A waiting task does not start. A running one gets KeyboardInterrupt (a coroutine of an actor
    CancelledError); with ``force`` its process ends. ``recursive`` cancels what the task submitted
    as well. Nothing happens where the value is there already.

    Raises TypeError for what is no reference, ValueError for ``force`` with a call of an actor.
    """
    if isinstance(ray_waitable, ObjectRefGenerator):
        ray_waitable = ray_waitable._generator_ref
    if not isinstance(ray_waitable, ObjectRef):
        raise TypeError(
            "ray.cancel() only supported for object refs. For actors, try ray.kill(). "
            f"Got: {type(ray_waitable)}."
        )
    _session.ensure()
    if force and not ray_waitable.task_id().actor_id().binary().startswith(b"\xff" * 12):
        raise ValueError("force=True is not supported for actor tasks.")
    try:
        _core.cancel(ray_waitable, force, recursive)
    except TypeError:
        pass  # It was put: there is no task to cancel.


def kill(actor: ActorHandle, *, no_restart: bool = True) -> None:
    """End the process of an actor at once; calls that it has not answered fail with ActorDiedError.

    With ``no_restart=False`` the actor restarts as after a crash, where ``max_restarts`` allows.
    Raises ValueError for anything but a handle of an actor.
    """
    from whipray.actor import ActorHandle

    if not isinstance(actor, ActorHandle):
        raise ValueError(
            "ray.kill() only supported for actors. For tasks, try ray.cancel(). "
            f"Got: {type(actor)}."
        )
    _session.ensure()
    _core.kill_actor(actor._actor_id.binary(), no_restart)
