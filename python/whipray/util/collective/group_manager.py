"""The groups that this process belongs to, and those that a driver has declared."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass
from typing import Any

from whipray import _core, _session
from whipray.util.collective.backend_registry import _global_registry
from whipray.util.collective.collective_group.base_collective_group import BaseGroup

_LOG = logging.getLogger(__name__)
_NAMESPACE = "collective_groups"
_DEFAULT_TIMEOUT_MILLISECONDS = 30000


@dataclass(frozen=True)
class Declaration:
    """What ``create_collective_group`` says of a group; actors join at their first operation."""

    actor_ids: list[str]
    world_size: int
    ranks: list[int]
    backend: str
    gloo_timeout: int
    """In milliseconds."""

    def publish(self, group_name: str) -> bool:
        """Whether it is known now; False where a group of this name is declared already."""
        data = json.dumps(asdict(self)).encode()
        return not _core.kv_put(_NAMESPACE, _key(group_name), data, False)

    @classmethod
    def find(cls, group_name: str) -> Declaration | None:
        """That of this name in the namespace of the program."""
        data = _core.kv_get(_NAMESPACE, _key(group_name))
        return None if data is None else cls(**json.loads(data))

    @staticmethod
    def withdraw(group_name: str) -> None:
        """Forget it, where it is known."""
        _core.kv_delete(_NAMESPACE, _key(group_name))


def _key(group_name: str) -> bytes:
    return f"{_session.current.namespace}/{group_name}".encode()


class GroupManager:
    """The groups of this process, by name."""

    def __init__(self) -> None:
        self._groups: dict[str, BaseGroup] = {}

    def create_collective_group(
        self,
        backend: str,
        world_size: int,
        rank: int,
        group_name: str,
        gloo_timeout: int | None = None,
    ) -> BaseGroup:
        """Join a group, waiting for the others.

        Raises ValueError for a backend that nobody registered, RuntimeError for one that does not
        work here, and what the backend raises where the others do not come.
        """
        group_class: Any = _global_registry.get(backend)
        if not group_class.check_backend_availability():
            hint = ""
            if backend.upper() == "NCCL":
                hint = " NCCL needs a GPU (num_gpus=1) that PyTorch sees; GLOO needs none."
            raise RuntimeError(
                f"Backend {backend.upper()} is not available. Please check the installation.{hint}"
            )
        arguments = [world_size, rank, group_name]
        if backend.upper() == "GLOO":
            arguments.append(gloo_timeout)
        group: BaseGroup = group_class(*arguments)
        self._groups[group_name] = group
        return group

    def is_group_exist(self, group_name: str) -> bool:
        """Whether this process has joined the group."""
        return group_name in self._groups

    def get_group_by_name(self, group_name: str) -> BaseGroup | None:
        """The group, or None where this process has not joined it, which is logged."""
        if group_name not in self._groups:
            _LOG.warning("The group '%s' is not initialized.", group_name)
        return self._groups.get(group_name)

    def destroy_collective_group(self, group_name: str) -> None:
        """Leave the group and forget its declaration; nothing but a warning without one."""
        group = self._groups.pop(group_name, None)
        if group is None:
            _LOG.warning("The group '%s' does not exist.", group_name)
            return
        group.destroy_group()
        Declaration.withdraw(group_name)

    def joined(self, group_name: str) -> BaseGroup:
        """The group, which this process joins now where it is declared, or the environment has it.

        Raises RuntimeError where nobody has said that this process belongs to it.
        """
        known = self._groups.get(group_name)
        if known is not None:
            return known
        declaration = Declaration.find(group_name)
        if declaration is not None:
            own = _session.current.info.get("actor", {}).get("actor_id", b"").hex()
            if own not in declaration.actor_ids:
                raise RuntimeError(
                    f"The collective group '{group_name}' is not initialized in the process: it "
                    "is declared, without this actor."
                )
            rank = declaration.ranks[declaration.actor_ids.index(own)]
            return self.create_collective_group(
                declaration.backend,
                declaration.world_size,
                rank,
                group_name,
                declaration.gloo_timeout,
            )
        if os.environ.get("collective_group_name") == group_name:
            return self.create_collective_group(
                os.environ["collective_backend"],
                int(os.environ["collective_world_size"]),
                int(os.environ["collective_rank"]),
                group_name,
                int(os.getenv("collective_gloo_timeout", _DEFAULT_TIMEOUT_MILLISECONDS)),
            )
        raise RuntimeError(
            f"The collective group '{group_name}' is not initialized in the process."
        )
