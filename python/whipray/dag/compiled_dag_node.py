"""Graphs that are executed again and again: methods of living actors, called in a fixed order.

The plan is made once. An execution submits all calls at once, each with the references to what the
ones before will return, so that values go from actor to actor without the driver.
"""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING, Any

from whipray._core import ObjectRef
from whipray._objects import get, kill
from whipray.dag.compiled_plan import CompiledPlan
from whipray.dag.context import DAGContext
from whipray.exceptions import (
    GetTimeoutError,
    RayActorError,
    RayCgraphCapacityExceeded,
    RayChannelError,
    RayChannelTimeoutError,
)

if TYPE_CHECKING:
    from whipray.dag.dag_node import DAGNode
    from whipray.experimental.compiled_dag_ref import CompiledDAGFuture, CompiledDAGRef

__all__ = ["CompiledDAG", "build_compiled_dag_from_ray_dag"]


class CompiledDAG:
    """A graph that is ready to be executed. Made by :meth:`DAGNode.experimental_compile`."""

    def __init__(
        self,
        submit_timeout: float | None = None,
        buffer_size_bytes: int | None = None,
        enable_asyncio: bool = False,
        max_inflight_executions: int | None = None,
        max_buffered_results: int | None = None,
        overlap_gpu_communication: bool | None = None,
        default_communicator: Any = "create",
    ) -> None:
        """``submit_timeout``, ``buffer_size_bytes`` and what is about GPUs has no effect."""
        limits = DAGContext.get_current()
        self._get_timeout = limits.get_timeout
        self._max_inflight = (
            limits.max_inflight_executions
            if max_inflight_executions is None
            else max_inflight_executions
        )
        self._max_buffered = (
            limits.max_buffered_results if max_buffered_results is None else max_buffered_results
        )
        self._enable_asyncio = enable_asyncio
        self._id = uuid.uuid4().hex
        self._plan: CompiledPlan | None = None
        # Taken again by what the garbage collector drops meanwhile.
        self._lock = threading.RLock()
        self._is_teardown = False
        self._executions = 0
        self._last_fetched = -1
        """The latest execution of which a result was asked for; those before count as over."""
        self._results: dict[int, dict[int | None, ObjectRef[Any]]] = {}
        """Results that nobody has asked for, by execution and place among the outputs."""

    def get_id(self) -> str:
        """Names this compiled graph."""
        return self._id

    @property
    def is_teardown(self) -> bool:
        """Whether it can be executed no more."""
        return self._is_teardown

    def execute(self, *args: Any, **kwargs: Any) -> CompiledDAGRef | list[CompiledDAGRef]:
        """Execute the graph with arguments for its InputNode; a reference, or a list of them for
        a MultiOutputNode.

        Raises ValueError for arguments that do not fit, RayCgraphCapacityExceeded where too many
        executions are under way, RayChannelError after :meth:`teardown`.
        """
        from whipray.experimental.compiled_dag_ref import CompiledDAGRef

        if self._enable_asyncio:
            raise ValueError("Use execute_async if enable_asyncio=True")
        index, results = self._submit(args, kwargs)
        references = [CompiledDAGRef(self, index, place) for place in results]
        return references[0] if None in results else references

    async def execute_async(
        self, *args: Any, **kwargs: Any
    ) -> CompiledDAGFuture | list[CompiledDAGFuture]:
        """The same for a graph that was compiled with ``enable_asyncio``: what it returns can be
        awaited."""
        from whipray.experimental.compiled_dag_ref import CompiledDAGFuture

        if not self._enable_asyncio:
            raise ValueError("Use execute if enable_asyncio=False")
        index, results = self._submit(args, kwargs)
        futures = [
            CompiledDAGFuture(self, index, reference, place) for place, reference in results.items()
        ]
        return futures[0] if None in results else futures

    def teardown(self, kill_actors: bool = False) -> None:
        """Give up the results that nobody asked for. Calls that were submitted still run, and the
        actors live on, unless ``kill_actors`` ends them."""
        with self._lock:
            self._is_teardown = True
            self._results.clear()
        if kill_actors and self._plan is not None:
            for actor in self._plan.actors():
                kill(actor)

    def _submit(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[int, dict[int | None, ObjectRef[Any]]]:
        with self._lock:
            if self._is_teardown:
                raise RayChannelError("Channel closed.")
            assert self._plan is not None
            self._plan.check_inputs(args, kwargs)
            under_way = sum(index > self._last_fetched for index in self._results)
            if under_way >= self._max_inflight:
                raise RayCgraphCapacityExceeded(
                    f"The compiled graph can't have more than {self._max_inflight} in-flight "
                    f"executions, and you currently have {under_way} in-flight executions. "
                    "Retrieve an output using ray.get before submitting more requests or increase "
                    "`_max_inflight_executions`. "
                    "`dag.experimental_compile(_max_inflight_executions=...)`"
                )
            index = self._executions
            self._executions += 1
            results = self._plan.run(args, kwargs)
            self._results[index] = dict(results)
            return index, results

    def _take(self, index: int, place: int | None) -> ObjectRef[Any]:
        """The reference to a result, which is kept no more."""
        with self._lock:
            if self._is_teardown:
                raise RayChannelError("Channel closed.")
            buffered = sum(other < index for other in self._results)
            if index > self._last_fetched and buffered > self._max_buffered:
                raise RayCgraphCapacityExceeded(
                    f"The compiled graph can't have more than {self._max_buffered} buffered "
                    f"results, and you currently have {buffered} buffered results. Call "
                    "`ray.get()` on CompiledDAGRef's (or await on CompiledDAGFuture's) to retrieve "
                    "results, or increase `_max_buffered_results`."
                )
            self._last_fetched = max(self._last_fetched, index)
            reference = self._results[index][place]
            self._drop(index, place)
            return reference

    def _drop(self, index: int, place: int | None) -> None:
        """Nobody asks for this result any more."""
        with self._lock:
            results = self._results.get(index, {})
            results.pop(place, None)
            if not results:
                self._results.pop(index, None)

    def _fetch(self, index: int, place: int | None, timeout: float | None) -> Any:
        """The value of a result; ``timeout`` is in seconds, by default that of the context, and
        without end where it is negative."""
        reference = self._take(index, place)
        try:
            return get(reference, timeout=self._get_timeout if timeout is None else timeout)
        except GetTimeoutError as error:
            raise RayChannelTimeoutError(
                "If the execution is expected to take a long time, increase RAY_CGRAPH_get_timeout "
                f"which is currently {self._get_timeout} seconds. Otherwise, this may indicate "
                "that the execution is hanging."
            ) from error
        except RayActorError:
            self.teardown()
            raise

    def __str__(self) -> str:
        return f"CompiledDAG({self._id})"


def build_compiled_dag_from_ray_dag(
    dag: DAGNode,
    submit_timeout: float | None = None,
    buffer_size_bytes: int | None = None,
    enable_asyncio: bool = False,
    max_inflight_executions: int | None = None,
    max_buffered_results: int | None = None,
    overlap_gpu_communication: bool | None = None,
    default_communicator: Any = "create",
) -> CompiledDAG:
    """What :meth:`DAGNode.experimental_compile` does."""
    if dag.is_cgraph_output_node:
        raise ValueError(
            "It is not allowed to call `experimental_compile` on the same DAG object multiple "
            "times no matter whether `teardown` is called or not. Please reuse the existing "
            "compiled DAG or create a new one."
        )
    compiled = CompiledDAG(
        submit_timeout,
        buffer_size_bytes,
        enable_asyncio,
        max_inflight_executions,
        max_buffered_results,
        overlap_gpu_communication,
        default_communicator,
    )
    compiled._plan = CompiledPlan(dag)
    dag.is_cgraph_output_node = True
    return compiled
