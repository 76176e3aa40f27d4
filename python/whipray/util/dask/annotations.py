"""Options of tasks by ``dask.annotate(ray_remote_args=...)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dask.highlevelgraph import HighLevelGraph


def remote_args_of(dsk: Any, general: dict[str, Any]) -> Callable[[Any], dict[str, Any]]:
    """The options of the task of a key: ``general`` ones, and before them those of its annotation.

    Raises ValueError for annotations of dask's own resources.
    """
    annotated = _annotations(dsk)
    if annotated.get("resources"):
        raise ValueError(
            'Use ray_remote_args={"resources": {...}} instead of resources={...} to specify '
            "required Ray task resources."
        )
    own = annotated.get("ray_remote_args", {})
    return lambda key: {**general, **own.get(key, {})}


def _annotations(dsk: Any) -> dict[str, dict[Any, Any]]:
    """Annotations by their name and the key."""
    if hasattr(dsk, "__dask_annotations__"):
        found: dict[str, dict[Any, Any]] = dsk.__dask_annotations__()
        return found
    by_name: dict[str, dict[Any, Any]] = {}
    if isinstance(dsk, HighLevelGraph):
        for layer in dsk.layers.values():
            for name, value in (layer.annotations or {}).items():
                for key in layer.get_output_keys():
                    of_key = value(key) if callable(value) else value
                    by_name.setdefault(name, {})[key] = of_key
    return by_name
