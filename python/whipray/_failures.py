"""Failures that the engine reports, as the exceptions of :mod:`whipray.exceptions`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from whipray import exceptions


def to_exception(
    kind: str, message: str, subject: str, cause: dict[str, Any] | None, exception: bytes
) -> BaseException:
    """The exception for a failure of this kind; see ``install`` in :mod:`whipray._core`."""
    if kind == "ActorDied":
        return _actor_died(message, subject, cause, exception)
    if kind in _UNRECONSTRUCTABLE:
        return _unreconstructable(kind, message, subject)
    make = _SIMPLE.get(kind)
    return exceptions.RaySystemError(message) if make is None else make(message, subject)


def _actor_died(
    message: str, subject: str, cause: dict[str, Any] | None, exception: bytes
) -> BaseException:
    if exception:
        from whipray._task_errors import load_error

        error = load_error(exception)
        if isinstance(error, exceptions.RayTaskError):
            plain = error.__reduce__()[1]
            died = exceptions.ActorDiedError(exceptions.RayTaskError(*plain))
        else:
            died = exceptions.ActorDiedError(str(error))
            died._actor_init_failed = True
    else:
        died = exceptions.ActorDiedError(message)
    died.actor_id = subject or died.actor_id
    died._preempted = bool(cause) and cause["kind"] == "NodeDied"  # type: ignore[index]
    return died


def _cancelled(message: str, _: str) -> BaseException:
    return exceptions.TaskCancelledError(error_message=message or None)


def _unavailable(message: str, subject: str) -> BaseException:
    error = exceptions.ActorUnavailableError(message, bytes.fromhex(subject) if subject else None)
    error.error_msg = message  # It is complete as it is.
    return error


def _lost(
    make: Callable[[str, bytes | None, str], exceptions.ObjectLostError], message: str, subject: str
) -> BaseException:
    error = make(subject, None, "")
    error._detail = message
    return error


def _unreconstructable(kind: str, message: str, subject: str) -> BaseException:
    return exceptions.ObjectReconstructionFailedError(
        subject, reason=_UNRECONSTRUCTABLE[kind], reason_message=message
    )


# The numbers that Ray gives to these reasons.
_UNRECONSTRUCTABLE = {
    "UnreconstructableAttempts": 12,
    "UnreconstructableEvicted": 13,
    "UnreconstructablePut": 27,
    "UnreconstructableNoRetries": 28,
    "UnreconstructableNotFound": 30,
    "UnreconstructableCancelled": 31,
}

_SIMPLE: dict[str, Callable[[str, str], BaseException]] = {
    "NotConnected": lambda message, _: exceptions.RaySystemError(message),
    "UnknownOwner": lambda message, _: ValueError(f"{message} Its owner is unknown."),
    "GetTimeout": lambda message, _: exceptions.GetTimeoutError(
        message or "Get timed out: some object(s) not ready."
    ),
    "WorkerCrashed": lambda message, _: exceptions.WorkerCrashedError(message),
    "ActorUnavailable": _unavailable,
    "TaskCancelled": _cancelled,
    "ObjectLost": lambda message, subject: _lost(exceptions.ObjectLostError, message, subject),
    "ReferenceDeleted": lambda message, subject: _lost(
        exceptions.ReferenceCountingAssertionError, message, subject
    ),
    "OwnerDied": lambda message, subject: _lost(exceptions.OwnerDiedError, message, subject),
    "ObjectFreed": lambda message, subject: _lost(exceptions.ObjectFreedError, message, subject),
    "ObjectStoreFull": lambda message, _: exceptions.ObjectStoreFullError(message),
    "OutOfDisk": lambda message, _: exceptions.OutOfDiskError(message),
    "OutOfMemory": lambda message, _: exceptions.OutOfMemoryError(message),
    "RuntimeEnvSetup": lambda message, _: exceptions.RuntimeEnvSetupError(message),
    "Unschedulable": lambda message, _: exceptions.TaskUnschedulableError(message),
    "ActorUnschedulable": lambda message, _: exceptions.ActorUnschedulableError(message),
    "TaskGroupRemoved": lambda message, _: exceptions.TaskPlacementGroupRemoved(message),
    "GroupNotCreated": lambda message, _: exceptions.RaySystemError(message),
    "NodeDied": lambda message, _: exceptions.NodeDiedError(message),
    "PendingCallsLimit": lambda message, _: exceptions.PendingCallsLimitExceeded(message),
    "ActorNameTaken": lambda message, _: exceptions.ActorAlreadyExistsError(message),
}
