"""References inside of arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from whipray._core import ObjectRef


def unpack_object_refs(*args: Any) -> tuple[list[ObjectRef[Any]], Callable[[Any], list[Any]]]:
    """The references inside of lists, tuples, sets and dictionaries, each once, and a function
    that takes their values, in the same order, and makes of them the arguments again."""
    places: dict[ObjectRef[Any], int] = {}

    def look(reference: ObjectRef[Any]) -> ObjectRef[Any]:
        places.setdefault(reference, len(places))
        return reference

    replace_references(list(args), look)

    def repack(values: Any) -> list[Any]:
        filled: list[Any] = replace_references(list(args), lambda ref: values[places[ref]])
        return filled

    return list(places), repack


def replace_references(value: Any, replacement: Callable[[ObjectRef[Any]], Any]) -> Any:
    """``value`` with replacements of all references in it: in containers, and in what the tasks of
    dask's graphs are made of. What has none is the same object."""
    if isinstance(value, ObjectRef):
        return replacement(value)
    kind = type(value)
    if kind in (list, tuple, set):
        items = [replace_references(item, replacement) for item in value]
        return kind(items) if _differ(items, value) else value
    if kind is dict:
        items = [replace_references(item, replacement) for item in value.values()]
        return dict(zip(value, items)) if _differ(items, value.values()) else value
    return _replaced_in_node(value, replacement)


def _differ(items: list[Any], old: Any) -> bool:
    return any(item is not other for item, other in zip(items, old))


def _replaced_in_node(node: Any, replacement: Callable[[ObjectRef[Any]], Any]) -> Any:
    from dask._task_spec import DataNode, Task

    if isinstance(node, DataNode):
        value = replace_references(node.value, replacement)
        return node if value is node.value else DataNode(node.key, value)
    if isinstance(node, Task):
        args = replace_references(node.args, replacement)
        kwargs = replace_references(node.kwargs, replacement)
        if args is node.args and kwargs is node.kwargs:
            return node
        made = node.copy()
        made.args, made.kwargs = args, kwargs
        return made
    return node
