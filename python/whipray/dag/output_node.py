"""Several results of a graph."""

from __future__ import annotations

from typing import Any

from whipray.dag.dag_node import DAGNode
from whipray.dag.format_utils import get_dag_node_str

__all__ = ["MultiOutputNode"]


class MultiOutputNode(DAGNode):
    """Executed, it gives a list of what its nodes give."""

    def __init__(
        self,
        args: list[DAGNode] | tuple[DAGNode, ...],
        other_args_to_resolve: dict[str, Any] | None = None,
    ) -> None:
        """Raises ValueError for anything but a list or a tuple."""
        if not isinstance(args, (list, tuple)):
            raise ValueError(f"Invalid input type for `args`, {type(args)}.")
        super().__init__(args, {}, {}, other_args_to_resolve or {})

    def _execute_impl(self, *args: Any, **kwargs: Any) -> list[Any]:
        return list(self._bound_args)

    def __str__(self) -> str:
        return get_dag_node_str(self, "__MultiOutputNode__")
