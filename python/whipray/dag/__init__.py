"""Graphs of calls: written down with ``bind``, executed later, as often as wanted.

``function.bind(...)``, ``Class.bind(...)`` and ``method.bind(...)`` make nodes, which may be
arguments of others. ``node.execute(...)`` makes all calls that the node depends on.
"""

from whipray.dag.class_node import ClassMethodNode, ClassNode
from whipray.dag.constants import (
    BIND_INDEX_KEY,
    COLLECTIVE_OPERATION_KEY,
    DAGNODE_TYPE_KEY,
    IS_CLASS_METHOD_OUTPUT_KEY,
    PARENT_CLASS_NODE_KEY,
    PREV_CLASS_METHOD_CALL_KEY,
)
from whipray.dag.context import DAGContext
from whipray.dag.dag_node import DAGNode
from whipray.dag.function_node import FunctionNode
from whipray.dag.input_node import DAGInputData, InputAttributeNode, InputNode
from whipray.dag.output_node import MultiOutputNode
from whipray.dag.vis_utils import plot

__all__ = [
    "BIND_INDEX_KEY",
    "COLLECTIVE_OPERATION_KEY",
    "ClassMethodNode",
    "ClassNode",
    "DAGContext",
    "DAGInputData",
    "DAGNODE_TYPE_KEY",
    "DAGNode",
    "FunctionNode",
    "IS_CLASS_METHOD_OUTPUT_KEY",
    "InputAttributeNode",
    "InputNode",
    "MultiOutputNode",
    "PARENT_CLASS_NODE_KEY",
    "PREV_CLASS_METHOD_CALL_KEY",
    "plot",
]
