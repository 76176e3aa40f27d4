"""A node: a call that was written down instead of made, with nodes among its arguments."""

from __future__ import annotations

import copy
import itertools
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from whipray.dag.base import DAGNodeBase
from whipray.dag.py_obj_scanner import _PyObjScanner

if TYPE_CHECKING:
    from whipray._core import ObjectRef
    from whipray.actor import ActorHandle
    from whipray.dag.compiled_dag_node import CompiledDAG

T = TypeVar("T")

_serial_numbers = itertools.count()


class DAGNode(DAGNodeBase, ABC):
    """Base of all nodes. A node never changes: what is done to a graph makes copies of its nodes.

    Nodes are made by ``bind``.
    """

    def __init__(
        self,
        args: tuple[Any, ...] | list[Any],
        kwargs: dict[str, Any],
        options: dict[str, Any],
        other_args_to_resolve: dict[str, Any],
    ) -> None:
        """``other_args_to_resolve`` are what the node depends on beside its arguments."""
        self._bound_args = args or ()
        self._bound_kwargs = dict(kwargs or {})
        self._bound_options = dict(options or {})
        self._bound_other_args_to_resolve = dict(other_args_to_resolve or {})
        self._stable_uuid = uuid.uuid4().hex
        # What a node depends on was there before it: in this order, everything can be run.
        self._serial_number = next(_serial_numbers)
        self.cache_from_last_execute: dict[str, Any] = {}
        self.is_cgraph_output_node = False
        self._dependents: list[DAGNode] = []
        for node in self._get_all_child_nodes():
            node._dependents.append(self)

    # ---- what was bound ------------------------------------------------------------------------

    def get_args(self) -> Any:
        """The positional arguments, as they were bound."""
        return copy.copy(self._bound_args)

    def get_kwargs(self) -> dict[str, Any]:
        """The named arguments; a copy."""
        return dict(self._bound_kwargs)

    def get_options(self) -> dict[str, Any]:
        """The options of the task or actor; a copy."""
        return dict(self._bound_options)

    def get_other_args_to_resolve(self) -> dict[str, Any]:
        """What the node depends on beside its arguments; a copy."""
        return dict(self._bound_other_args_to_resolve)

    def get_stable_uuid(self) -> str:
        """Names the node and its copies, also in other processes."""
        return self._stable_uuid

    @property
    def type_hint(self) -> Any:
        """How the value travels; None: as every object does."""
        return None

    def with_tensor_transport(
        self,
        transport: Any = "auto",
        device: str = "default",
        _static_shape: bool = False,
        _direct_return: bool = False,
    ) -> DAGNode:
        """This node: tensors travel as other values do.

        Raises ValueError for transports between GPUs.
        """
        if transport not in (None, "auto", "shm"):
            raise ValueError(
                f"with_tensor_transport(): there is no transport {transport!r}; tensors travel "
                "through shared memory"
            )
        return self

    # ---- running -------------------------------------------------------------------------------

    def execute(
        self, *args: Any, _ray_cache_refs: bool = False, **kwargs: Any
    ) -> ObjectRef[Any] | ActorHandle | list[Any]:
        """Make all calls of the graph that ends in this node, each once; what this one returns.

        The arguments are what the graph's InputNode stands for. Actors of the graph are created
        anew each time. ``_ray_cache_refs`` keeps the references for
        :meth:`get_object_refs_from_last_execute`.

        Raises AssertionError for a graph with several InputNodes.
        """
        inputs: set[str] = set()

        def run(node: DAGNode) -> Any:
            from whipray.dag.input_node import InputNode

            if isinstance(node, InputNode):
                inputs.add(node._stable_uuid)
                if len(inputs) > 1:
                    raise AssertionError("Each DAG should only have one unique InputNode.")
            return node._execute_impl(*args, **kwargs)

        memo = _Memo(run)
        result = self.apply_recursive(memo)
        if _ray_cache_refs:
            self.cache_from_last_execute = memo.results
        return result

    async def get_object_refs_from_last_execute(self) -> dict[str, Any]:
        """What each node has returned, by :meth:`get_stable_uuid`, when :meth:`execute` was called
        with ``_ray_cache_refs``."""
        return dict(self.cache_from_last_execute)

    def clear_cache(self) -> None:
        """Let go of what the last :meth:`execute` kept."""
        self.cache_from_last_execute = {}

    def experimental_compile(
        self,
        _submit_timeout: float | None = None,
        _buffer_size_bytes: int | None = None,
        enable_asyncio: bool = False,
        _max_inflight_executions: int | None = None,
        _max_buffered_results: int | None = None,
        _overlap_gpu_communication: bool | None = None,
        _default_communicator: Any = "create",
    ) -> CompiledDAG:
        """Prepare the graph, of methods of living actors, for being executed again and again.

        ``_max_inflight_executions`` may be under way at once, ``_max_buffered_results`` results
        wait for being fetched; the others are limits and transports of Ray's channels, and have no
        effect. See :class:`whipray.dag.context.DAGContext` for the defaults.

        Raises ValueError and NotImplementedError for what cannot be compiled.
        """
        from whipray.dag.compiled_dag_node import build_compiled_dag_from_ray_dag

        return build_compiled_dag_from_ray_dag(
            self,
            _submit_timeout,
            _buffer_size_bytes,
            enable_asyncio,
            _max_inflight_executions,
            _max_buffered_results,
            _overlap_gpu_communication,
            _default_communicator,
        )

    @abstractmethod
    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        """Make the call; all nodes among the arguments were replaced by their results."""

    # ---- walking through the graph -------------------------------------------------------------

    def apply_recursive(self, fn: Callable[[DAGNode], T]) -> T:
        """The result of ``fn`` for this node, after what it depends on.

        ``fn`` gets copies, in which the nodes are replaced by its results for them. It is called
        once for each node, however many depend on it.
        """
        if not isinstance(fn, _Memo):
            fn = _Memo(fn)
        return fn(self)

    def traverse_and_apply(self, fn: Callable[[DAGNode], T]) -> None:
        """Call ``fn`` once with each node of the graph, also with those that this one does not
        depend on."""
        for node in self._connected():
            fn(node)

    def apply_functional(
        self,
        source_input_list: Any,
        predicate_fn: Callable[[Any], bool],
        apply_fn: Callable[[Any], Any],
    ) -> Any:
        """The list with ``apply_fn(item)`` in the places of nodes for which ``predicate_fn``
        holds; containers are searched."""
        scanner = _PyObjScanner()
        found = scanner.find_nodes(source_input_list)
        table = {node: apply_fn(node) if predicate_fn(node) else node for node in found}
        return scanner.replace_nodes(table)

    def _get_all_child_nodes(self) -> list[DAGNode]:
        """The nodes that this one depends on directly, each once."""
        found: list[DAGNode] = _PyObjScanner().find_nodes(self._bound())
        return found

    def _connected(self) -> list[DAGNode]:
        """All nodes of the graph, what is depended on first."""
        known = {id(self): self}
        pending: list[DAGNode] = [self]
        while pending:
            node = pending.pop()
            for other in (*node._get_all_child_nodes(), *node._dependents):
                if id(other) not in known:
                    known[id(other)] = other
                    pending.append(other)
        return sorted(known.values(), key=lambda node: node._serial_number)

    def _bound(self) -> list[Any]:
        return [self._bound_args, self._bound_kwargs, self._bound_other_args_to_resolve]

    def _with_results(self, result_of: Callable[[DAGNode], Any]) -> DAGNode:
        """A copy with results in the places of nodes."""
        scanner = _PyObjScanner()
        table = {node: result_of(node) for node in scanner.find_nodes(self._bound())}
        args, kwargs, others = scanner.replace_nodes(table)
        return self._copy(args, kwargs, self._bound_options, others)

    def _copy(
        self,
        new_args: list[Any] | tuple[Any, ...],
        new_kwargs: dict[str, Any],
        new_options: dict[str, Any],
        new_other_args_to_resolve: dict[str, Any],
    ) -> DAGNode:
        """The same node, by its uuid, with other arguments."""
        made = copy.copy(self)
        made._bound_args = new_args
        made._bound_kwargs = dict(new_kwargs)
        made._bound_options = dict(new_options)
        made._bound_other_args_to_resolve = dict(new_other_args_to_resolve)
        made._dependents = []
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_dependents": [], "cache_from_last_execute": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __getattr__(self, name: str) -> Any:
        if name == "bind":
            raise AttributeError(f".bind() cannot be used again on {type(self)}")
        if name == "remote":
            raise AttributeError(
                f".remote() cannot be used on {type(self)}. To execute the task graph for this "
                "node, use .execute()."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class _Memo:
    """A function of nodes that is called once for each, with the results for what it depends on."""

    def __init__(self, function: Callable[[DAGNode], Any]) -> None:
        self._function = function
        self.results: dict[str, Any] = {}

    def __call__(self, node: DAGNode) -> Any:
        """Goes down with a list of its own: graphs may be deeper than Python's stack."""
        pending = [node]
        while pending:
            next_node = pending[-1]
            if next_node._stable_uuid in self.results:
                pending.pop()
                continue
            missing = [
                child
                for child in next_node._get_all_child_nodes()
                if child._stable_uuid not in self.results
            ]
            if missing:
                pending.extend(reversed(missing))
                continue
            changed = next_node._with_results(lambda child: self.results[child._stable_uuid])
            self.results[next_node._stable_uuid] = self._function(changed)
        return self.results[node._stable_uuid]
