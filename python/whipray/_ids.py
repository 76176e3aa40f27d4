"""Identifiers as users see them: immutable, hashable, of a fixed number of bytes for each kind."""

from __future__ import annotations

import os
from typing import Any, ClassVar, TypeVar

Id = TypeVar("Id", bound="BaseID")


class BaseID:
    """An identifier of :meth:`size` bytes. Ids of the same kind and bytes are equal."""

    SIZE: ClassVar[int] = 28

    __slots__ = ("_binary",)

    def __init__(self, id: bytes) -> None:
        """Raises TypeError where ``id`` is no ``bytes``, ValueError where its length is wrong."""
        if not isinstance(id, bytes):
            raise TypeError(f"Unsupported type: {type(id)}, expected bytes")
        if len(id) != self.SIZE:
            raise ValueError(f"ID string needs to have length {self.SIZE}, got {len(id)}")
        self._binary = id

    @classmethod
    def size(cls) -> int:
        """The number of bytes."""
        return cls.SIZE

    @classmethod
    def nil(cls: type[Id]) -> Id:
        """The id that stands for none."""
        return cls(b"\xff" * cls.SIZE)

    @classmethod
    def from_random(cls: type[Id]) -> Id:
        """An id that nobody else will make."""
        return cls(os.urandom(cls.SIZE))

    @classmethod
    def from_binary(cls: type[Id], id_bytes: bytes) -> Id:
        """The id with these bytes."""
        return cls(id_bytes)

    @classmethod
    def from_hex(cls: type[Id], hex_id: str) -> Id:
        """The id that this hexadecimal text names."""
        return cls(bytes.fromhex(hex_id))

    def binary(self) -> bytes:
        """The bytes."""
        return self._binary

    def hex(self) -> str:
        """Lower-case hexadecimal."""
        return self._binary.hex()

    def is_nil(self) -> bool:
        """Whether this is the id that stands for none."""
        return self._binary == b"\xff" * self.SIZE

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BaseID):
            return NotImplemented
        return type(self) is type(other) and self._binary == other._binary

    def __hash__(self) -> int:
        return hash(self._binary)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._binary,)


class UniqueID(BaseID):
    """28 random bytes."""

    __slots__ = ()


class NodeID(UniqueID):
    """One machine of the cluster."""

    __slots__ = ()


class WorkerID(UniqueID):
    """One process that runs or submits tasks."""

    __slots__ = ()


class FunctionID(UniqueID):
    """A function, by the content of its definition."""

    __slots__ = ()


class ActorClassID(UniqueID):
    """A class of actors, by the content of its definition."""

    __slots__ = ()


class ClusterID(UniqueID):
    """One cluster."""

    __slots__ = ()


class JobID(BaseID):
    """One driver's program: four bytes."""

    SIZE: ClassVar[int] = 4

    __slots__ = ()

    @classmethod
    def from_int(cls, value: int) -> JobID:
        """The job of this number; the first one of a cluster has the number 1."""
        return cls(value.to_bytes(4, "little"))

    def int(self) -> int:
        """The number."""
        return int.from_bytes(self._binary, "little")


class ActorID(BaseID):
    """One actor: twelve unique bytes and its job."""

    SIZE: ClassVar[int] = 16

    __slots__ = ()

    @property
    def job_id(self) -> JobID:
        """The job that created the actor."""
        return JobID(self._binary[12:])


class PlacementGroupID(BaseID):
    """One placement group: fourteen unique bytes and its job."""

    SIZE: ClassVar[int] = 18

    __slots__ = ()

    @classmethod
    def of(cls, job_id: JobID) -> PlacementGroupID:
        """An id that nobody else will make, of this job."""
        return cls(os.urandom(14) + job_id.binary())

    @property
    def job_id(self) -> JobID:
        """The job that created the group."""
        return JobID(self._binary[14:])


class TaskID(BaseID):
    """One invocation: eight unique bytes and the actor that it runs on, or none of its job."""

    SIZE: ClassVar[int] = 24

    __slots__ = ()

    def actor_id(self) -> ActorID:
        """The actor part; the unique bytes of a plain task's are all ones."""
        return ActorID(self._binary[8:])

    def job_id(self) -> JobID:
        """The job that submitted the task."""
        return JobID(self._binary[20:])
