"""What a graph is executed with."""

from __future__ import annotations

from typing import Any

from whipray.dag.dag_node import DAGNode
from whipray.dag.format_utils import get_dag_node_str

__all__ = ["DAGInputData", "InputAttributeNode", "InputNode"]

IN_CONTEXT_MANAGER = "__in_context_manager__"


class InputNode(DAGNode):
    """Stands for the arguments of ``execute``: ``with InputNode() as inputs:``.

    Alone it is the one argument. ``inputs[0]`` and ``inputs.name`` are one of several, or a part of
    the one.
    """

    def __init__(
        self,
        *args: Any,
        input_type: type | dict[int | str, type] | None = None,
        _other_args_to_resolve: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """``input_type``: the type of the argument, or a dictionary of types; for those who read
        it. Raises ValueError for other arguments."""
        if args or kwargs:
            raise ValueError("InputNode should not take any args or kwargs.")
        self.input_type = input_type
        self.input_attribute_nodes: dict[int | str, InputAttributeNode] = {}
        super().__init__((), {}, {}, _other_args_to_resolve or {})

    def __enter__(self) -> InputNode:
        self.set_context(IN_CONTEXT_MANAGER, True)
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def set_context(self, key: str, val: Any) -> None:
        """Note something about the node."""
        self._bound_other_args_to_resolve[key] = val

    def get_result_type(self) -> str | None:
        """The name of ``input_type``, if it is one."""
        return _name_of(self.input_type)

    def __getattr__(self, name: str) -> Any:
        # Asked for by copy and pickle before there is an object: what begins so is no input.
        if name.startswith("_") or name in ("bind", "remote", "input_attribute_nodes"):
            return super().__getattr__(name)
        return self._part(name, "__getattr__")

    def __getitem__(self, key: int | str) -> InputAttributeNode:
        if not isinstance(key, (int, str)):
            raise AssertionError(
                "Please only use int index or str as first-level key to access fields of dag "
                f"input, not {key!r}."
            )
        return self._part(key, "__getitem__")

    def _part(self, key: int | str, accessor: str) -> InputAttributeNode:
        known = self.input_attribute_nodes.get(key)
        if known is None or known._accessor != accessor:
            types = self.input_type if isinstance(self.input_type, dict) else {}
            known = InputAttributeNode(self, key, accessor, _name_of(types.get(key)))
            self.input_attribute_nodes[key] = known
        return known

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        if not self._bound_other_args_to_resolve.get(IN_CONTEXT_MANAGER):
            raise AssertionError(
                "InputNode is a singleton instance that should be only used in context manager "
                "for dag building and execution: `with InputNode() as inputs:`."
            )
        if len(args) == 1 and not kwargs:
            return args[0]
        return DAGInputData(*args, **kwargs)

    def __str__(self) -> str:
        return get_dag_node_str(self, "__InputNode__")


class InputAttributeNode(DAGNode):
    """One of the arguments of ``execute``, or a part of the only one."""

    def __init__(
        self,
        dag_input_node: InputNode,
        key: int | str,
        accessor_method: str,
        input_type: str | None = None,
    ) -> None:
        """``accessor_method``: ``__getitem__`` or ``__getattr__``, as it was written."""
        super().__init__(
            (),
            {},
            {},
            {
                "dag_input_node": dag_input_node,
                "key": key,
                "accessor_method": accessor_method,
                "result_type_string": input_type,
            },
        )

    @property
    def key(self) -> int | str:
        """The number or the name."""
        found: int | str = self._bound_other_args_to_resolve["key"]
        return found

    @property
    def _accessor(self) -> str:
        found: str = self._bound_other_args_to_resolve["accessor_method"]
        return found

    def get_result_type(self) -> str | None:
        """The name of its type, if the InputNode has one for it."""
        found: str | None = self._bound_other_args_to_resolve["result_type_string"]
        return found

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        given = self._bound_other_args_to_resolve["dag_input_node"]
        if isinstance(given, DAGInputData) or self._accessor == "__getitem__":
            return given[self.key]
        return getattr(given, str(self.key))

    def __str__(self) -> str:
        return get_dag_node_str(self, f'["{self.key}"]')


class DAGInputData:
    """Several arguments of ``execute``: positional ones by number, others by name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes what ``execute`` was called with."""
        self._args = list(args)
        self._kwargs = kwargs

    def __getitem__(self, key: int | str) -> Any:
        """Raises IndexError and KeyError for what was not given, ValueError for other keys."""
        if isinstance(key, int):
            return self._args[key]
        if isinstance(key, str):
            return self._kwargs[key]
        raise ValueError(f"an input is selected by a number or a name, not by {key!r}")


def _name_of(kind: Any) -> str | None:
    return f"{kind.__module__}.{kind.__qualname__}" if isinstance(kind, type) else None
