"""The call of a remote function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from whipray.dag.dag_node import DAGNode
from whipray.dag.format_utils import get_dag_node_str
from whipray.remote_function import RemoteFunction

__all__ = ["FunctionNode"]


class FunctionNode(DAGNode):
    """``function.bind(...)``: executed, it submits a task."""

    def __init__(
        self,
        func_body: Callable[..., Any] | RemoteFunction,
        func_args: tuple[Any, ...],
        func_kwargs: dict[str, Any],
        func_options: dict[str, Any],
        other_args_to_resolve: dict[str, Any] | None = None,
    ) -> None:
        """``func_body`` may be a remote function, which then keeps its definition."""
        if not isinstance(func_body, RemoteFunction):
            func_body = RemoteFunction(func_body, func_options or {})
        self._remote_function = func_body
        super().__init__(func_args, func_kwargs, func_options, other_args_to_resolve or {})

    @property
    def _body(self) -> Callable[..., Any]:
        return self._remote_function._function

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        return self._remote_function.remote(*self._bound_args, **self._bound_kwargs)

    def _copy(
        self,
        new_args: list[Any] | tuple[Any, ...],
        new_kwargs: dict[str, Any],
        new_options: dict[str, Any],
        new_other_args_to_resolve: dict[str, Any],
    ) -> DAGNode:
        made = super()._copy(new_args, new_kwargs, new_options, new_other_args_to_resolve)
        if new_options != self._bound_options and isinstance(made, FunctionNode):
            made._remote_function = self._remote_function.options(**new_options)
        return made

    def get_import_path(self) -> str:
        """``module.name`` of the function."""
        body = self._body
        return f"{body.__module__}.{body.__qualname__}"

    def __str__(self) -> str:
        return get_dag_node_str(self, str(self._body))
