"""The schedulers that dask calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask
from dask._task_spec import Alias, DataNode, GraphNode, convert_legacy_graph, cull
from dask.callbacks import local_callbacks
from dask.core import flatten
from dask.order import order

from whipray._core import ObjectRef
from whipray._objects import get, put
from whipray.util.dask.annotations import remote_args_of
from whipray.util.dask.callbacks import RayCallbacks, local_ray_callbacks, unpack_ray_callbacks
from whipray.util.dask.submission import call_here, submit
from whipray.util.dask.watching import watch

__all__ = ["disable_dask_on_ray", "enable_dask_on_ray", "ray_dask_get", "ray_dask_get_sync"]

_SMALL = (type(None), bool, int, float, str)
"""Values that travel with every task that needs them."""

Submit = Callable[[Any, dict[Any, Any], RayCallbacks, dict[str, Any]], Any]


def enable_dask_on_ray(
    shuffle: str | None = "tasks", use_shuffle_optimization: bool | None = True
) -> dask.config.set:
    """Have dask run all graphs on the cluster: from here on, or ``with enable_dask_on_ray():``.

    ``shuffle`` is dask's way to shuffle dataframes; None leaves it as it is.
    ``use_shuffle_optimization`` is about the dataframes of old dask, and has no effect.
    """
    changes: dict[str, Any] = {"scheduler": ray_dask_get}
    if shuffle is not None:
        changes["dataframe.shuffle.method"] = shuffle
    return dask.config.set(changes)


def disable_dask_on_ray() -> dask.config.set:
    """Have dask choose its scheduler itself again."""
    return dask.config.set({"scheduler": None, "dataframe.shuffle.method": None})


def ray_dask_get(dsk: Any, keys: Any, **kwargs: Any) -> Any:
    """The values of ``keys``, a key or nested lists of them: each task of the graph ``dsk`` is a
    task of the cluster, which takes the references to what it depends on.

    Options: ``ray_remote_args``, the options of all tasks, which those of ``dask.annotate`` go
    before; ``ray_persist=True``, references instead of values; ``ray_callbacks``, instead of the
    active ones. Raises what a task raised, ValueError for the option ``resources``.
    """
    return _run(dsk, keys, submit, **kwargs)


def ray_dask_get_sync(dsk: Any, keys: Any, **kwargs: Any) -> Any:
    """The same in this process, one task after the other, for debugging."""
    return _run(dsk, keys, call_here, **kwargs)


def _run(
    dsk: Any,
    keys: Any,
    submit_task: Submit,
    ray_remote_args: dict[str, Any] | None = None,
    ray_callbacks: Any = None,
    ray_persist: bool = False,
    callbacks: Any = None,
    resources: Any = None,
    **ignored: Any,
) -> Any:
    if resources is not None:
        raise ValueError(
            'Use ray_remote_args={"resources": {...}} instead of resources={...} to specify '
            "required Ray task resources."
        )
    options_of = remote_args_of(dsk, ray_remote_args or {})
    graph = convert_legacy_graph(dsk.__dask_graph__() if hasattr(dsk, "__dask_graph__") else dsk)
    wanted = set(flatten([keys])) if isinstance(keys, list) else {keys}
    graph = cull(graph, wanted)
    with local_ray_callbacks(ray_callbacks) as active, local_callbacks(callbacks) as dask_callbacks:
        functions = unpack_ray_callbacks(active)
        with watch(dask_callbacks, graph) as watched:
            results = _submit_all(graph, submit_task, functions, options_of)
            for call in functions.ray_postsubmit_all_cbs or ():
                call([results[key] for key in wanted], graph)
            watched.until_all_are_ready(results)
            kept = {key: results[key] for key in wanted}
            # What nobody asked for may go as soon as no task needs it.
            results.clear()
            found = _picked(keys, kept if ray_persist else _values(kept))
            for call in functions.ray_finish_cbs or ():
                call(list(found) if isinstance(found, tuple) else found)
    return found


def _submit_all(
    graph: dict[Any, GraphNode],
    submit_task: Submit,
    functions: RayCallbacks,
    options_of: Callable[[Any], dict[str, Any]],
) -> dict[Any, Any]:
    """The references to all results, or the values of what is no task, by key."""
    results: dict[Any, Any] = {}
    dependents: dict[Any, int] = {}
    for node in graph.values():
        for dependency in node.dependencies:
            dependents[dependency] = dependents.get(dependency, 0) + 1
    priorities = order(graph)
    pending = sorted(graph, key=lambda key: priorities[key], reverse=True)
    while pending:
        key = pending[-1]
        node = graph[key]
        missing = [other for other in node.dependencies if other not in results]
        if key in results or missing:
            pending.extend(missing)
            if not missing:
                pending.pop()
            continue
        if isinstance(node, Alias):
            results[key] = results[node.target]
        elif isinstance(node, DataNode):
            value = node.value
            if dependents.get(key, 0) > 1 and not isinstance(value, (*_SMALL, ObjectRef)):
                value = put(value)
            results[key] = value
        else:
            dependencies = {other: results[other] for other in node.dependencies}
            results[key] = _submit_one(node, dependencies, submit_task, functions, options_of(key))
    return results


def _submit_one(
    task: GraphNode,
    dependencies: dict[Any, Any],
    submit_task: Submit,
    functions: RayCallbacks,
    options: dict[str, Any],
) -> Any:
    for call in functions.ray_presubmit_cbs or ():
        replacement = call(task, task.key, dependencies)
        if replacement is not None:
            return replacement
    result = submit_task(task, dependencies, functions, options)
    for call in functions.ray_postsubmit_cbs or ():
        call(task, task.key, dependencies, result)
    return result


def _picked(keys: Any, results: dict[Any, Any]) -> Any:
    """The results in the form of ``keys``; lists become tuples, as with dask's own schedulers."""
    if isinstance(keys, list):
        return tuple(_picked(key, results) for key in keys)
    return results[keys]


def _values(results: dict[Any, Any]) -> dict[Any, Any]:
    references = [value for value in results.values() if isinstance(value, ObjectRef)]
    values = dict(zip(references, get(references)))
    return {
        key: values[value] if isinstance(value, ObjectRef) else value
        for key, value in results.items()
    }
