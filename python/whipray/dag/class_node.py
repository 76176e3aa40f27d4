"""An actor that the graph creates, and calls of its methods and of those of living actors."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from whipray.actor import ActorClass
from whipray.dag.constants import (
    BIND_INDEX_KEY,
    IS_CLASS_METHOD_OUTPUT_KEY,
    PARENT_CLASS_NODE_KEY,
    PREV_CLASS_METHOD_CALL_KEY,
)
from whipray.dag.dag_node import DAGNode
from whipray.dag.format_utils import get_dag_node_str

if TYPE_CHECKING:
    from whipray.actor import ActorHandle

__all__ = ["ClassMethodNode", "ClassNode"]

_calls_bound: defaultdict[bytes, itertools.count[int]] = defaultdict(itertools.count)
"""For each living actor of which methods were bound, the numbers of those calls."""


class ClassNode(DAGNode):
    """``Class.bind(...)``: executed, it creates an actor. Its methods are bound as
    ``node.method.bind(...)``, and called in the order in which they were bound."""

    def __init__(
        self,
        cls: type | ActorClass[Any],
        cls_args: tuple[Any, ...],
        cls_kwargs: dict[str, Any],
        cls_options: dict[str, Any],
        other_args_to_resolve: dict[str, Any] | None = None,
    ) -> None:
        """``cls`` may be an actor class, which then keeps its definition."""
        if not isinstance(cls, ActorClass):
            cls = ActorClass._of(cls, cls_options or {})
        self._actor_class = cls
        self._last_call: ClassMethodNode | None = None
        super().__init__(cls_args, cls_kwargs, cls_options, other_args_to_resolve or {})

    @property
    def _body(self) -> type:
        return self._actor_class._class

    def _execute_impl(self, *args: Any, **kwargs: Any) -> ActorHandle:
        actor_class = self._actor_class
        if actor_class._default_options != self._bound_options:
            actor_class = actor_class.options(**self._bound_options)
        return actor_class.remote(*self._bound_args, **self._bound_kwargs)

    def __getattr__(self, name: str) -> Any:
        # Asked for by copy and pickle before there is an object: what begins so is no method.
        if name in ("bind", "remote") or name.startswith("__") or "_actor_class" not in vars(self):
            return super().__getattr__(name)
        getattr(self._body, name)
        return _UnboundClassMethodNode(self, name, {})

    def __str__(self) -> str:
        return get_dag_node_str(self, str(self._body))


class _UnboundClassMethodNode:
    """A method of an actor that the graph creates, to be bound."""

    def __init__(self, actor: ClassNode, name: str, options: dict[str, Any]) -> None:
        self._actor = actor
        self._name = name
        self._options = options

    def options(self, **options: Any) -> _UnboundClassMethodNode:
        """The same method with other options."""
        return _UnboundClassMethodNode(self._actor, self._name, {**self._options, **options})

    def bind(self, *args: Any, **kwargs: Any) -> ClassMethodNode:
        """A call of the method, after those that were bound before."""
        made = ClassMethodNode(
            self._name,
            args,
            kwargs,
            self._options,
            {
                PARENT_CLASS_NODE_KEY: self._actor,
                PREV_CLASS_METHOD_CALL_KEY: self._actor._last_call,
            },
        )
        self._actor._last_call = made
        return made

    def __getattr__(self, name: str) -> Any:
        if name == "remote":
            raise AttributeError(
                ".remote() cannot be used on ClassMethodNodes. Use .bind() instead to express an "
                "symbolic actor call."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class ClassMethodNode(DAGNode):
    """A call of an actor's method, or one of the results of such a call."""

    def __init__(
        self,
        method_name: str,
        method_args: tuple[Any, ...],
        method_kwargs: dict[str, Any],
        method_options: dict[str, Any],
        other_args_to_resolve: dict[str, Any],
    ) -> None:
        """``other_args_to_resolve`` has the actor; one of several results has the call and its own
        index as arguments."""
        self._method_name = method_name
        super().__init__(method_args, method_kwargs, method_options, other_args_to_resolve)

    def get_method_name(self) -> str:
        """The name of the method."""
        return self._method_name

    @property
    def _actor(self) -> Any:
        """The actor: a node, or a handle."""
        return self._bound_other_args_to_resolve[PARENT_CLASS_NODE_KEY]

    @property
    def is_class_method_output(self) -> bool:
        """Whether this is one of several results of a call."""
        return bool(self._bound_other_args_to_resolve.get(IS_CLASS_METHOD_OUTPUT_KEY, False))

    @property
    def is_class_method_call(self) -> bool:
        """Whether this is a call."""
        return not self.is_class_method_output

    @property
    def num_returns(self) -> int:
        """How many results the call has; those are nodes themselves, if there are several."""
        if self.is_class_method_output:
            return 1
        number = self._bound_options.get("num_returns")
        return number if isinstance(number, int) and number > 0 else 1

    @property
    def class_method_call(self) -> ClassMethodNode | None:
        """The call of which this is one result."""
        return self._bound_args[0] if self.is_class_method_output else None

    @property
    def output_idx(self) -> int | None:
        """Which result of the call this is, from 0."""
        return self._bound_args[1] if self.is_class_method_output else None

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        if self.is_class_method_output:
            results, index = self._bound_args
            return results[index]
        method = getattr(self._actor, self._method_name)
        if self._bound_options:
            method = method.options(**self._bound_options)
        return method.remote(*self._bound_args, **self._bound_kwargs)

    def __str__(self) -> str:
        return get_dag_node_str(self, f"{self._method_name}()")

    __repr__ = __str__


def bind_method(
    actor: ActorHandle,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: dict[str, Any],
) -> ClassMethodNode | tuple[ClassMethodNode, ...]:
    """A call of a living actor's method, or a tuple of its results where there are several."""
    call = ClassMethodNode(
        name,
        args,
        kwargs,
        options,
        {
            PARENT_CLASS_NODE_KEY: actor,
            PREV_CLASS_METHOD_CALL_KEY: None,
            BIND_INDEX_KEY: next(_calls_bound[actor._actor_id.binary()]),
        },
    )
    if call.num_returns == 1:
        return call
    beside = {IS_CLASS_METHOD_OUTPUT_KEY: True, PARENT_CLASS_NODE_KEY: actor}
    return tuple(
        ClassMethodNode(f"return_idx_{index}", (call, index), {}, {}, beside)
        for index in range(call.num_returns)
    )
