"""What may still change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whipray.experimental.locations import get_local_object_locations, get_object_locations

_HOMES = {"get_local_object_locations": "locations", "get_object_locations": "locations"}
_MODULES = ("compiled_dag_ref", "internal_kv", "locations", "tqdm_ray")

__all__ = ["get_local_object_locations", "get_object_locations"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
