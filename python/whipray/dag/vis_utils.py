"""Pictures of graphs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whipray.dag.dag_node import DAGNode

__all__ = ["plot"]


def plot(dag: DAGNode, to_file: str | None = None) -> Any:
    """Draw a graph into a file, ``dag.png`` by default; the ending says in which format.

    In a notebook it returns the picture. Raises ImportError where pydot is missing, which also
    needs the programs of Graphviz.
    """
    try:
        import pydot
    except ImportError as error:
        raise ImportError(
            "pydot is required to plot DAG, install it with `pip install pydot`."
        ) from error

    path = to_file or "dag.png"
    picture = pydot.Dot(rankdir="LR")
    nodes = dag._connected()
    for node in nodes:
        picture.add_node(pydot.Node(node._stable_uuid, label=label_of(node)))
    for node in nodes:
        for child in node._get_all_child_nodes():
            picture.add_edge(pydot.Edge(child._stable_uuid, node._stable_uuid))
    picture.write(path, format=os.path.splitext(path)[1].lstrip(".") or "png")
    try:
        from IPython import display
    except ImportError:
        return None
    return display.Image(filename=path)


def label_of(node: DAGNode) -> str:
    """What stands in the picture for a node."""
    from whipray.dag.class_node import ClassMethodNode, ClassNode
    from whipray.dag.function_node import FunctionNode
    from whipray.dag.input_node import InputAttributeNode

    if isinstance(node, (ClassNode, FunctionNode)):
        return str(node._body.__name__)
    if isinstance(node, ClassMethodNode):
        return node.get_method_name()
    if isinstance(node, InputAttributeNode):
        return f"InputNode[{node.key!r}]"
    return type(node).__name__
