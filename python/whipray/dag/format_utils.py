"""The text of nodes: indented, with the nodes that they depend on inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whipray.dag.dag_node import DAGNode

_INDENT = "    "


def get_dag_node_str(dag_node: DAGNode, body_line: Any) -> str:
    """The text of a node; ``body_line`` says what it does."""
    fields = [
        f"body={body_line}",
        _sequence("args", dag_node._bound_args),
        _mapping("kwargs", dag_node._bound_kwargs),
        _mapping("options", dag_node._bound_options),
        _mapping("other_args_to_resolve", dag_node._bound_other_args_to_resolve),
    ]
    inside = "\n".join(_indented(field) for field in fields)
    return f"({type(dag_node).__name__}, {dag_node._stable_uuid})(\n{inside}\n)"


def _indented(text: str) -> str:
    return "\n".join(_INDENT + line for line in text.split("\n"))


def _sequence(name: str, values: Any) -> str:
    if not values:
        return f"{name}=[]"
    lines = "\n".join(_indented(f"{_value(value)}, ") for value in values)
    return f"{name}=[\n{lines}\n]"


def _mapping(name: str, values: dict[str, Any]) -> str:
    if not values:
        return f"{name}={{}}"
    lines = "\n".join(_indented(f"{key}: {_value(value)}") for key, value in values.items())
    return f"{name}={{\n{lines}\n}}"


def _value(value: Any) -> str:
    from whipray.dag.base import DAGNodeBase

    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_value(item)}" for key, item in value.items()) + "}"
    return str(value) if isinstance(value, DAGNodeBase) else repr(value)
