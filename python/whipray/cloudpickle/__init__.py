"""cloudpickle, under the name that programs for Ray use."""

from __future__ import annotations

from typing import Any

from cloudpickle import (
    DEFAULT_PROTOCOL,
    CloudPickler,
    Pickler,
    dump,
    dumps,
    load,
    loads,
    register_pickle_by_value,
    unregister_pickle_by_value,
)
from cloudpickle.cloudpickle import (
    dynamic_subimport,
    is_tornado_coroutine,
    list_registry_pickle_by_value,
    subimport,
)

__all__ = [
    "DEFAULT_PROTOCOL",
    "CloudPickler",
    "Pickler",
    "dump",
    "dump_debug",
    "dumps",
    "dumps_debug",
    "dynamic_subimport",
    "is_tornado_coroutine",
    "list_registry_pickle_by_value",
    "load",
    "loads",
    "register_pickle_by_value",
    "subimport",
    "unregister_pickle_by_value",
]


def dump_debug(obj: Any, *args: Any, **kwargs: Any) -> None:
    """:func:`dump`, whose TypeError says which part cannot be pickled."""
    try:
        dump(obj, *args, **kwargs)
    except (TypeError, RuntimeError) as error:
        raise _explained(obj, error) from error


def dumps_debug(obj: Any, *args: Any, **kwargs: Any) -> bytes:
    """:func:`dumps`, whose TypeError says which part cannot be pickled."""
    try:
        pickled: bytes = dumps(obj, *args, **kwargs)
        return pickled
    except (TypeError, RuntimeError) as error:
        raise _explained(obj, error) from error


def _explained(value: Any, error: Exception) -> BaseException:
    from whipray._unserializable import value_not_serializable

    return value_not_serializable(error, value, "object", "")
