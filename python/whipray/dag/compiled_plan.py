"""The calls of a compiled graph in the order in which they are made."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from whipray._core import ObjectRef
from whipray._objects import put
from whipray.dag.class_node import ClassMethodNode, ClassNode
from whipray.dag.dag_node import DAGNode
from whipray.dag.function_node import FunctionNode
from whipray.dag.input_node import InputAttributeNode, InputNode
from whipray.dag.output_node import MultiOutputNode
from whipray.dag.py_obj_scanner import _PyObjScanner

if TYPE_CHECKING:
    from whipray.actor import ActorMethod

_SMALL = (type(None), bool, int, float, str, bytes)
"""Inputs that travel with every call, however many need them."""


class CompiledPlan:
    """What an execution does: inputs, calls, outputs."""

    def __init__(self, root: DAGNode) -> None:
        """Raises ValueError, NotImplementedError and AssertionError for graphs that are not made of
        methods of living actors, or have no input."""
        self._root = root
        is_multiple = isinstance(root, MultiOutputNode)
        self._outputs: list[DAGNode] = list(root._bound_args) if is_multiple else [root]
        self._is_multiple = is_multiple
        nodes = root._connected()
        if not any(isinstance(node, InputNode) for node in nodes):
            raise _no_input(root)
        for node in nodes:
            _check(node, root)
        self._check_leaves(nodes)
        for output in self._outputs:
            if not isinstance(output, ClassMethodNode):
                raise AssertionError(
                    f"the output of a compiled graph is the call of a method, not {output}"
                )
        needed = self._needed()
        self._steps = [node for node in nodes if isinstance(node, ClassMethodNode)]
        # Made once: a method keeps what the core needs for its calls.
        self._methods = {
            id(node): _method(node) for node in self._steps if node.is_class_method_call
        }
        inputs = [node for node in nodes if isinstance(node, (InputNode, InputAttributeNode))]
        self._inputs = [node for node in inputs if needed[id(node)]]
        self._shared = {id(node) for node in self._inputs if needed[id(node)] > 1}
        keys = [node.key for node in self._inputs if isinstance(node, InputAttributeNode)]
        numbers = [key for key in keys if isinstance(key, int)]
        self._names = sorted(key for key in keys if isinstance(key, str))
        self._positional = max(numbers) + 1 if numbers else int(not keys)

    def _needed(self) -> Counter[int]:
        """How many calls take each node as an argument."""
        return Counter(
            id(argument)
            for node in self._root._connected()
            if isinstance(node, ClassMethodNode)
            for argument in (*node._bound_args, *node._bound_kwargs.values())
            if isinstance(argument, DAGNode)
        )

    def _check_leaves(self, nodes: list[DAGNode]) -> None:
        outputs = {id(node) for node in (self._root, *self._outputs)}
        leaves = [
            node.get_method_name()
            for node in nodes
            if isinstance(node, ClassMethodNode)
            and node.is_class_method_call
            and not node._dependents
            and id(node) not in outputs
        ]
        if leaves:
            raise ValueError(
                "Compiled DAG doesn't support leaf nodes, i.e., nodes that don't have downstream "
                f"nodes and are not output nodes. There are {len(leaves)} leaf nodes in the DAG. "
                f"Please add the outputs of {leaves} to the the MultiOutputNode."
            )

    def actors(self) -> list[Any]:
        """The handles of all actors, each once."""
        return list(dict.fromkeys(node._actor for node in self._steps))

    def check_inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raises ValueError where these are not what the graph needs."""
        called = "dag.execute() or dag.execute_async() must be called with"
        if len(args) != self._positional:
            raise ValueError(f"{called} {self._positional} positional args, got {len(args)}")
        for name in self._names:
            if name not in kwargs:
                raise ValueError(f"{called} kwarg `{name}`")

    def run(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[int | None, ObjectRef[Any]]:
        """Submit all calls; the references to the outputs by place, None where there is one."""
        values: dict[int, Any] = {}
        for node in self._inputs:
            if isinstance(node, InputAttributeNode):
                value = args[node.key] if isinstance(node.key, int) else kwargs[node.key]
            else:
                value = args[0]
            if id(node) in self._shared and not isinstance(value, (*_SMALL, ObjectRef)):
                value = put(value)
            values[id(node)] = value
        for step in self._steps:
            arguments = [_resolved(value, values) for value in step._bound_args]
            if step.is_class_method_output:
                results, index = arguments
                values[id(step)] = results[index]
                continue
            named = {name: _resolved(value, values) for name, value in step._bound_kwargs.items()}
            values[id(step)] = self._methods[id(step)].remote(*arguments, **named)
        if not self._is_multiple:
            return {None: values[id(self._root)]}
        return {place: values[id(node)] for place, node in enumerate(self._outputs)}


def _method(call: ClassMethodNode) -> ActorMethod:
    method: ActorMethod = getattr(call._actor, call._method_name)
    return method.options(**call._bound_options) if call._bound_options else method


def _resolved(value: Any, values: dict[int, Any]) -> Any:
    return values[id(value)] if isinstance(value, DAGNode) else value


def _check(node: DAGNode, root: DAGNode) -> None:
    """Raises for a node that a compiled graph cannot have."""
    if isinstance(node, FunctionNode):
        raise NotImplementedError("Compiled DAGs currently only support actor method nodes")
    if isinstance(node, ClassNode):
        raise ValueError(
            "Compiled DAGs can only bind methods to an actor that is already created with "
            "Actor.remote()"
        )
    if isinstance(node, MultiOutputNode) and node is not root:
        raise ValueError("a MultiOutputNode can only be the end of a compiled graph")
    if not isinstance(node, ClassMethodNode):
        return
    arguments = [*node._bound_args, *node._bound_kwargs.values()]
    for argument in arguments:
        found = [] if isinstance(argument, DAGNode) else _PyObjScanner().find_nodes(argument)
        if found:
            raise ValueError(
                f"Found {len(found)} DAGNodes from the arg {argument} in {node}. Please ensure "
                "that the argument is a single DAGNode and that a DAGNode is not allowed to be "
                "placed inside any type of container."
            )
    if not any(isinstance(argument, DAGNode) for argument in arguments):
        raise _no_input(node)


def _no_input(node: DAGNode) -> ValueError:
    return ValueError(
        "No InputNode found in the DAG: when traversing upwards, no upstream node was found for "
        f"{node}."
    )
