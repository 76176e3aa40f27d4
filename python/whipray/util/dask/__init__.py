"""dask on the engine: each task of a graph of dask's is a task of the cluster.

``collection.compute(scheduler=ray_dask_get)`` runs one collection so,
:func:`enable_dask_on_ray` all of them. Importing this module has ``persist`` keep references
instead of values, where this scheduler runs it.
"""

from __future__ import annotations

from typing import Any, Callable

try:
    import dask
except ImportError as error:
    raise ImportError(
        "whipray.util.dask needs dask, which is not installed: pip install 'dask[complete]'"
    ) from error

from whipray.util.dask.callbacks import (
    ProgressBarCallback,
    RayDaskCallback,
    local_ray_callbacks,
    unpack_ray_callbacks,
)
from whipray.util.dask.optimizations import dataframe_optimize
from whipray.util.dask.scheduler import (
    disable_dask_on_ray,
    enable_dask_on_ray,
    ray_dask_get,
    ray_dask_get_sync,
)

__all__ = [
    "ProgressBarCallback",
    "RayDaskCallback",
    "dataframe_optimize",
    "disable_dask_on_ray",
    "enable_dask_on_ray",
    "local_ray_callbacks",
    "ray_dask_get",
    "ray_dask_get_sync",
    "ray_dask_persist",
    "unpack_ray_callbacks",
]

_persist = dask.base.persist
_persist_of_collections = dask.base.DaskMethodsMixin.persist


def ray_dask_persist(*args: Any, **kwargs: Any) -> Any:
    """``dask.persist``: with this package's scheduler the new collections hold references."""
    return _persist(*args, **_with_references(args, kwargs))


def ray_dask_persist_mixin(self: Any, **kwargs: Any) -> Any:
    """``collection.persist``: with this package's scheduler the new one holds references."""
    return _persist_of_collections(self, **_with_references((self,), kwargs))


def _with_references(collections: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    found = [value for value in collections if dask.base.is_dask_collection(value)]
    schedule = dask.base.get_scheduler(scheduler=kwargs.get("scheduler"), collections=found)
    if schedule in (ray_dask_get, ray_dask_get_sync):
        kwargs.setdefault("ray_persist", True)
    return kwargs


def patch_dask(
    ray_dask_persist: Callable[..., Any], ray_dask_persist_mixin: Callable[..., Any]
) -> None:
    """Have dask call these two for ``persist``."""
    package: Any = dask
    package.persist = ray_dask_persist
    package.base.DaskMethodsMixin.persist = ray_dask_persist_mixin


patch_dask(ray_dask_persist, ray_dask_persist_mixin)
