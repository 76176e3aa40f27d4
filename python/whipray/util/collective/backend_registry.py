"""Backends by name: those of the library, and a program's own."""

from __future__ import annotations

from whipray.util.annotations import PublicAPI
from whipray.util.collective import types
from whipray.util.collective.collective_group.base_collective_group import BaseGroup


class BackendRegistry:
    """The backends of this process; there is one registry."""

    _instance: BackendRegistry | None = None
    _map: dict[str, type[BaseGroup]]

    def __new__(cls) -> BackendRegistry:
        if cls._instance is None:
            cls._instance = super().__new__(cls)
            cls._instance._map = {}
        return cls._instance

    def put(self, name: str, group_cls: type[BaseGroup]) -> None:
        """Add a backend.

        Raises TypeError for a class that is no :class:`BaseGroup`, ValueError for a name that is
        taken.
        """
        if not issubclass(group_cls, BaseGroup):
            raise TypeError(f"{group_cls} is not a subclass of BaseGroup")
        if name.upper() in self._map:
            raise ValueError(f"Backend {name.upper()} already registered")
        self._map[name.upper()] = group_cls

    def get(self, name: str) -> type[BaseGroup]:
        """The class of a backend. Raises ValueError for a name that nobody registered."""
        upper = name.upper()
        if upper not in self._map:
            hint = ""
            if upper in (types.Backend.GLOO, types.Backend.NCCL):
                hint = ": it needs PyTorch, 'pip install torch'"
            raise ValueError(f"Backend {upper} not registered{hint}")
        return self._map[upper]

    def is_registered(self, name: str) -> bool:
        """Whether there is a backend of this name, working or not."""
        return name.upper() in self._map

    def check(self, name: str) -> bool:
        """Whether there is a backend of this name, and it works on this machine."""
        group = self._map.get(name.upper())
        return group is not None and group.check_backend_availability()


_global_registry = BackendRegistry()


@PublicAPI(stability="alpha")
def register_collective_backend(name: str, group_cls: type[BaseGroup]) -> None:
    """Make a backend known in this process: in the driver, and in each actor of a group.

    Raises as :meth:`BackendRegistry.put`.
    """
    _global_registry.put(name, group_cls)
    upper = name.upper()
    if not hasattr(types.Backend, upper):
        setattr(types.Backend, upper, upper)
