"""How a task of dask's becomes a task of the cluster."""

from __future__ import annotations

from typing import Any

from whipray._core import ObjectRef
from whipray._objects import get
from whipray._remote import remote
from whipray.remote_function import RemoteFunction
from whipray.util.dask.callbacks import RayCallbacks
from whipray.util.dask.common import replace_references, unpack_object_refs

_remote_functions: dict[str, RemoteFunction] = {}
"""The one remote function, once it is needed."""


def submit(
    task: Any, dependencies: dict[Any, Any], functions: RayCallbacks, options: dict[str, Any]
) -> ObjectRef[Any]:
    """The reference to the result of ``task`` in the cluster.

    What it needs of others are arguments of their own: so it starts once all is there.
    """
    function = _remote_functions.get("run_task")
    if function is None:
        function = _remote_functions["run_task"] = remote(run_task)
    # References that the user has put into the graph, perhaps inside of fused tasks.
    inside, _ = unpack_object_refs(task)
    reference: ObjectRef[Any] = function.options(name=f"dask:{task.key}", **options).remote(
        task,
        inside[:],
        list(dependencies),
        functions.ray_pretask_cbs,
        functions.ray_posttask_cbs,
        *dependencies.values(),
        *inside,
    )
    return reference


def call_here(
    task: Any, dependencies: dict[Any, Any], functions: RayCallbacks, options: dict[str, Any]
) -> Any:
    """The result of ``task``, called in this process."""
    inside, _ = unpack_object_refs(task)
    values = [_value(dependency) for dependency in dependencies.values()]
    return run_task(
        task,
        inside,
        list(dependencies),
        functions.ray_pretask_cbs,
        functions.ray_posttask_cbs,
        *values,
        *get(inside),
    )


def _value(dependency: Any) -> Any:
    return get(dependency) if isinstance(dependency, ObjectRef) else dependency


def run_task(
    task: Any,
    references: list[ObjectRef[Any]],
    keys: list[Any],
    before: list[Any] | None,
    after: list[Any] | None,
    *values: Any,
) -> Any:
    """In a worker: call ``task`` with the values of its dependencies ``keys``, and behind them
    those of the ``references`` that it has inside."""
    given = dict(zip(keys, values))
    if references:
        table = dict(zip(references, values[len(keys) :]))
        task = replace_references(task, table.__getitem__)
    states = [call(task.key, list(given.values())) if call else None for call in before or ()]
    result = task(given)
    for call, state in zip(after or (), states):
        if call:
            call(task.key, result, state)
    return result
