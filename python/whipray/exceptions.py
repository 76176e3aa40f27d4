"""Every exception that the engine raises.

All of them derive from :class:`RayError`. An exception of user code arrives as an object that is
both a :class:`RayTaskError` and an instance of the user's own type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from whipray._ids import TaskID

__all__ = [
    "ActorAlreadyExistsError",
    "ActorDiedError",
    "ActorHandleNotFoundError",
    "ActorPlacementGroupRemoved",
    "ActorUnavailableError",
    "ActorUnschedulableError",
    "AsyncioActorExit",
    "AuthenticationError",
    "CrossLanguageError",
    "GetTimeoutError",
    "LocalRayletDiedError",
    "NodeDiedError",
    "ObjectFetchTimedOutError",
    "ObjectFreedError",
    "ObjectLostError",
    "ObjectReconstructionFailedError",
    "ObjectRefStreamEndOfStreamError",
    "ObjectStoreFullError",
    "OufOfBandObjectRefSerializationException",
    "OutOfDiskError",
    "OutOfMemoryError",
    "OwnerDiedError",
    "PendingCallsLimitExceeded",
    "PlasmaObjectNotAvailable",
    "RAY_EXCEPTION_TYPES",
    "RayActorError",
    "RayCgraphCapacityExceeded",
    "RayChannelError",
    "RayChannelTimeoutError",
    "RayDirectTransportError",
    "RayError",
    "RaySystemError",
    "RayTaskError",
    "ReferenceCountingAssertionError",
    "RpcError",
    "RuntimeEnvSetupError",
    "StreamingGeneratorReplayInconsistentError",
    "TaskCancelledError",
    "TaskPlacementGroupRemoved",
    "TaskUnschedulableError",
    "UnserializableException",
    "UserCodeException",
    "WorkerCrashedError",
]


class RayError(Exception):
    """The base of all exceptions of the engine."""

    def to_bytes(self) -> bytes:
        """The pickled exception, for :meth:`from_bytes`."""
        from whipray._serialization import dumps

        return dumps(self)

    @staticmethod
    def from_bytes(b: bytes) -> RayError:
        """The exception that :meth:`to_bytes` pickled."""
        from pickle import loads

        error: RayError = loads(b)
        return error


class CrossLanguageError(RayError):
    """An exception that was raised by code in another language."""

    def __init__(self, ray_exception: Any) -> None:
        super().__init__(f"An exception raised from {ray_exception}")


class TaskCancelledError(RayError):
    """The task was cancelled, or depends on one that was."""

    def __init__(self, task_id: TaskID | None = None, error_message: str | None = None) -> None:
        """The id is that of a task that was interrupted under way; else the message tells it."""
        # What is given by keyword is not among the arguments that ``repr`` shows.
        self.task_id = task_id
        self.error_message = error_message

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        message = self.error_message or ""
        if self.task_id is None:
            return message
        return f"Task: {self.task_id} was cancelled. {message}"


_HEADER = "Traceback (most recent call last):"


class RayTaskError(RayError):
    """User code raised; ``cause`` is what it raised, the text has the frames of every hop.

    :func:`whipray.get` raises an instance that derives from the type of the cause as well, so that
    ``except ValueError`` catches a ``ValueError`` of a task.
    """

    def __init__(
        self,
        function_name: str,
        traceback_str: str,
        cause: BaseException,
        proctitle: str | None = None,
        pid: int | None = None,
        ip: str | None = None,
        actor_repr: str | None = None,
        actor_id: str | None = None,
    ) -> None:
        import os

        self.proctitle = proctitle or f"ray::{function_name}"
        self.pid = os.getpid() if pid is None else pid
        self.ip = ip or ""
        self.function_name = function_name
        self.traceback_str = traceback_str
        self.actor_repr = actor_repr
        self._actor_id = actor_id
        self.cause = cause
        self.args = (function_name, traceback_str, cause, proctitle, pid, ip, actor_repr, actor_id)

    def __reduce__(self) -> tuple[Any, ...]:
        return RayTaskError, (
            self.function_name,
            self.traceback_str,
            self.cause,
            self.proctitle,
            self.pid,
            self.ip,
            self.actor_repr,
            self._actor_id,
        )

    def make_dual_exception_instance(self) -> RayTaskError:
        """An instance that derives from the type of the cause too.

        Raises TypeError where Python cannot make such a type.
        """
        from whipray._dual_exceptions import dual

        return dual(self)

    def as_instanceof_cause(self) -> RayTaskError:
        """The same error as an instance of the type of its cause, where there can be one."""
        if isinstance(self, type(self.cause)):
            return self
        try:
            return self.make_dual_exception_instance()
        except TypeError:
            return self  # The type of the cause cannot be derived from.

    def __str__(self) -> str:
        where = f"{self.proctitle}() (pid={self.pid}, ip={self.ip}"
        if self.actor_repr:
            where += f", actor_id={self._actor_id}, repr={self.actor_repr}"
        where += ")"
        lines = self.traceback_str.split("\n")
        if _HEADER not in lines:
            return f"{where}\n{self.traceback_str}"
        return "\n".join(where if line == _HEADER else line for line in lines)


class LocalRayletDiedError(RayError):
    """The daemon of the node on which the task ran is gone."""

    def __str__(self) -> str:
        return super().__str__() or "The daemon of the task's node is gone."


class WorkerCrashedError(RayError):
    """The process that ran the task ended before the task did; the text says how it ended."""

    def __str__(self) -> str:
        return super().__str__() or "The worker died unexpectedly while executing this task."


class RayActorError(RayError):
    """The actor cannot answer; see the two classes that derive from this one."""

    BASE_ERROR_MSG = "The actor experienced an error before finishing this task."

    def __init__(
        self,
        actor_id: str | None = None,
        error_msg: str = BASE_ERROR_MSG,
        actor_init_failed: bool = False,
        preempted: bool = False,
    ) -> None:
        """``actor_id`` is hexadecimal."""
        self.actor_id = actor_id
        self.error_msg = error_msg
        self._actor_init_failed = actor_init_failed
        self._preempted = preempted

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        return self.error_msg

    @property
    def preempted(self) -> bool:
        """Whether the machine was taken away."""
        return self._preempted

    @property
    def actor_init_failed(self) -> bool:
        """Whether the constructor raised."""
        return self._actor_init_failed


class ActorDiedError(RayActorError):
    """The actor is dead for good; the text says why."""

    BASE_ERROR_MSG = "The actor died unexpectedly before finishing this task."

    def __init__(self, cause: RayTaskError | str | None = None) -> None:
        """``cause`` is the error of the constructor, or the whole text."""
        if isinstance(cause, RayTaskError):
            super().__init__(
                cause._actor_id,
                f"The actor died because of an error raised in its creation task, {cause}",
                actor_init_failed=True,
            )
            self.args = (cause,)
        else:
            super().__init__(None, cause or self.BASE_ERROR_MSG)
            self.args = (cause,) if cause else ()

    @staticmethod
    def from_task_error(task_error: RayTaskError) -> ActorDiedError:
        """The death of an actor whose constructor raised this."""
        return ActorDiedError(task_error)


class ActorUnavailableError(RayActorError):
    """The actor does not answer now but may later; the call may or may not have run."""

    def __init__(self, error_message: str, actor_id: bytes | None) -> None:
        name = None if actor_id is None else actor_id.hex()
        super().__init__(
            name,
            f"The actor {name} is unavailable: {error_message}. The task may or may not have been "
            "executed on the actor.",
        )
        self.args = (error_message, actor_id)


def _restore(kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> Any:
    """Make an exception again without its constructor, which builds its text from other things."""
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class RaySystemError(RayError):
    """The engine cannot do what it was asked."""

    def __init__(self, client_exc: Any, traceback_str: str | None = None) -> None:
        self.client_exc = client_exc
        self.traceback_str = traceback_str
        self.args = (client_exc,) if traceback_str is None else (client_exc, traceback_str)

    def __str__(self) -> str:
        text = f"System error: {self.client_exc}"
        return f"{text}\ntraceback: {self.traceback_str}" if self.traceback_str else text


class AuthenticationError(RayError):
    """The cluster refused the token of this process."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UserCodeException(RayError):
    """User code that the engine runs for itself raised."""


class ObjectStoreFullError(RayError):
    """The object does not fit beside those that are still referenced."""

    def __str__(self) -> str:
        return super().__str__() or "The object store is full of objects that are still in use."


class OutOfDiskError(RayError):
    """The object fits neither in memory nor on disk."""

    def __str__(self) -> str:
        return super().__str__() or "The object store is full, and so is the disk."


class OutOfMemoryError(RayError):
    """The process was ended because its machine was about to run out of memory."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NodeDiedError(RayError):
    """The node is dead."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ObjectLostError(RayError):
    """The value is gone, and nothing can make it again."""

    _REASON = "All copies of {id} are lost: the nodes or the files that had them are gone."

    def __init__(self, object_ref_hex: str, owner_address: bytes | None, call_site: str) -> None:
        """``call_site`` is where the reference was made; empty where that is not recorded."""
        super().__init__(object_ref_hex, owner_address, call_site)
        self.object_ref_hex = object_ref_hex
        self.owner_address = owner_address
        # Frames are told apart by bars, and shown in lines of their own.
        self.call_site = call_site.replace(" | ", "\n  ")
        self._detail = ""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)

    def _where(self) -> str:
        text = f"Failed to retrieve object {self.object_ref_hex}."
        if self.call_site:
            return f"{text} The ObjectRef was created at: {self.call_site}"
        return text

    def __str__(self) -> str:
        text = f"{self._where()}\n\n{self._REASON.format(id=self.object_ref_hex)}"
        return f"{text}\n{self._detail}" if self._detail else text


class ObjectFetchTimedOutError(ObjectLostError):
    """No node that has the value was found in time."""

    _REASON = "Fetch for object {id} timed out because no locations were found for the object."


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """The value was let go while a reference existed."""

    _REASON = "The object has already been deleted by the reference counting protocol."


class OwnerDiedError(ObjectLostError):
    """The process that made the reference is gone, and with it what it knew of the value."""

    _REASON = (
        "The object's owner has exited. This is the Python worker that first created the ObjectRef "
        "via `.remote()` or `ray.put()`."
    )


class ObjectFreedError(ObjectLostError):
    """The value was freed by hand."""

    _REASON = (
        "The object was manually freed using the internal `free` call: call it only for values "
        "that nobody needs any more."
    )


class ObjectReconstructionFailedError(ObjectLostError):
    """The value was lost, and the task that makes it could not be run again.

    ``reason`` is the number that Ray gives to the reason, a key of ``REASON_MESSAGES``.
    """

    _NAMES: ClassVar[dict[int, str]] = {
        12: "OBJECT_UNRECONSTRUCTABLE_MAX_ATTEMPTS_EXCEEDED",
        13: "OBJECT_UNRECONSTRUCTABLE_LINEAGE_EVICTED",
        27: "OBJECT_UNRECONSTRUCTABLE_PUT",
        28: "OBJECT_UNRECONSTRUCTABLE_RETRIES_DISABLED",
        29: "OBJECT_UNRECONSTRUCTABLE_BORROWED",
        30: "OBJECT_UNRECONSTRUCTABLE_REF_NOT_FOUND",
        31: "OBJECT_UNRECONSTRUCTABLE_TASK_CANCELLED",
        32: "OBJECT_UNRECONSTRUCTABLE_LINEAGE_DISABLED",
    }
    REASON_MESSAGES: ClassVar[dict[int, str]] = {
        12: "All retries of the object's task are used. Allow more with "
        "`@ray.remote(max_retries=N)`.",
        13: "What was known of the object's task was forgotten to save memory. Allow more with the "
        "environment variable RAY_max_lineage_bytes=<bytes> (default 1GB).",
        27: "The object was stored by ray.put(), and no task can make it again. Return it from a "
        "task instead.",
        28: "The object's task has max_retries=0. Allow retries with `@ray.remote(max_retries=N)`.",
        29: "The object belongs to another process, and only its owner can have it made again.",
        30: "Nothing is known of the object's task any more.",
        31: "The task that makes the object was cancelled.",
        32: "Lost objects are not made again in this cluster.",
    }

    def __init__(
        self,
        object_ref_hex: str,
        reason: int | None = None,
        reason_message: str | None = None,
        owner_address: bytes | None = None,
        call_site: str = "",
    ) -> None:
        super().__init__(object_ref_hex, owner_address, call_site)
        self.reason = reason
        self.reason_message = reason_message or self.REASON_MESSAGES.get(
            reason or 0, "The reason is not known."
        )
        self.args = (object_ref_hex, reason, reason_message, owner_address, call_site)

    def __str__(self) -> str:
        name = self._NAMES.get(self.reason or 0, "UNKNOWN")
        return f"{self._where()}\n\n[{name}] {self.reason_message}"


class GetTimeoutError(RayError, TimeoutError):
    """The values were not there within the timeout of :func:`whipray.get`."""


class PlasmaObjectNotAvailable(RayError):
    """The value is not in this node's memory."""


class AsyncioActorExit(RayError):
    """An asynchronous actor left by :func:`whipray.actor.exit_actor`."""


class RuntimeEnvSetupError(RayError):
    """The environment that the task asked for could not be made."""

    def __init__(self, error_message: str | None = None) -> None:
        super().__init__(*(() if error_message is None else (error_message,)))
        self.error_message = error_message

    def __str__(self) -> str:
        lines = ["Failed to set up runtime environment."]
        return "\n".join(lines + ([self.error_message] if self.error_message else []))


class TaskPlacementGroupRemoved(RayError):
    """The placement group of the task was removed."""

    def __str__(self) -> str:
        return "The placement group corresponding to this task has been removed."


class ActorPlacementGroupRemoved(RayError):
    """The placement group of the actor was removed."""

    def __str__(self) -> str:
        return "The placement group corresponding to this Actor has been removed."


class PendingCallsLimitExceeded(RayError):
    """The actor has as many calls waiting as ``max_pending_calls`` allows."""


class TaskUnschedulableError(RayError):
    """No node can ever run the task."""

    def __init__(self, error_message: str) -> None:
        super().__init__(error_message)
        self.error_message = error_message

    def __str__(self) -> str:
        return f"The task is not schedulable: {self.error_message}"


class ActorUnschedulableError(RayError):
    """No node can ever run the actor."""

    def __init__(self, error_message: str) -> None:
        super().__init__(error_message)
        self.error_message = error_message

    def __str__(self) -> str:
        return f"The actor is not schedulable: {self.error_message}"


class ActorAlreadyExistsError(ValueError, RayError):
    """The name belongs to another live actor."""

    def __init__(self, error_message: str) -> None:
        super().__init__(error_message)
        self.error_message = error_message


class ActorHandleNotFoundError(ValueError, RayError):
    """The handle belongs to no actor of this cluster."""

    def __init__(self, error_message: str) -> None:
        super().__init__(error_message)
        self.error_message = error_message


class RayDirectTransportError(RaySystemError):
    """A transport between actors failed."""


class RayChannelError(RaySystemError):
    """A channel between actors failed."""


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """A channel between actors did not answer in time."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.client_exc, self.traceback_str)


class RayCgraphCapacityExceeded(RaySystemError):
    """A graph of actors has as many executions under way as it may have."""


class StreamingGeneratorReplayInconsistentError(RaySystemError):
    """A generator that was run again made other values."""


class RpcError(RayError):
    """A request to the cluster failed."""

    def __init__(self, message: str, rpc_code: int | None = None) -> None:
        super().__init__(message, rpc_code)
        self.message = message
        self.rpc_code = rpc_code

    def __str__(self) -> str:
        return self.message


class OufOfBandObjectRefSerializationException(RayError):
    """A reference was pickled where that is forbidden."""


class UnserializableException(RayError):
    """An exception of user code that could not be unpickled here; the text has its traceback."""

    def __init__(self, original_stack_trace: str) -> None:
        super().__init__(original_stack_trace)
        self._original_stack_trace = original_stack_trace

    def __str__(self) -> str:
        return (
            f"Failed to deserialize exception.\nOriginal exception:\n{self._original_stack_trace}"
        )


class ObjectRefStreamEndOfStreamError(RayError):
    """The generator has no more values."""


RAY_EXCEPTION_TYPES = [
    PlasmaObjectNotAvailable,
    RayError,
    RayTaskError,
    WorkerCrashedError,
    RayActorError,
    ObjectStoreFullError,
    ObjectLostError,
    ObjectFetchTimedOutError,
    ReferenceCountingAssertionError,
    ObjectReconstructionFailedError,
    OwnerDiedError,
    GetTimeoutError,
    AsyncioActorExit,
    RuntimeEnvSetupError,
    TaskPlacementGroupRemoved,
    ActorPlacementGroupRemoved,
    PendingCallsLimitExceeded,
    LocalRayletDiedError,
    TaskUnschedulableError,
    ActorDiedError,
    ActorUnschedulableError,
    ActorUnavailableError,
    RayChannelError,
    RayChannelTimeoutError,
    OufOfBandObjectRefSerializationException,
    RayCgraphCapacityExceeded,
    UnserializableException,
    ActorAlreadyExistsError,
    ActorHandleNotFoundError,
    AuthenticationError,
]
