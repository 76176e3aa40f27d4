"""Names under which nodes keep what they refer to beside their arguments."""

from __future__ import annotations

PARENT_CLASS_NODE_KEY = "parent_class_node"
"""The actor of a method: a node, or the handle of one that lives."""

PREV_CLASS_METHOD_CALL_KEY = "prev_class_method_call"
"""The node of the call before, of an actor that the graph creates."""

BIND_INDEX_KEY = "bind_index"
"""Which call of a living actor this is, among those that were bound."""

IS_CLASS_METHOD_OUTPUT_KEY = "is_class_method_output"
"""Whether the node is one of several results of a call."""

COLLECTIVE_OPERATION_KEY = "collective_operation"
DAGNODE_TYPE_KEY = "__dag_node_type__"
