"""Results of compiled graphs, to be had once."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whipray._core import ObjectRef
    from whipray.dag.compiled_dag_node import CompiledDAG

__all__ = ["CompiledDAGFuture", "CompiledDAGRef"]


class _NotPicklable(ValueError, TypeError):
    """What ``pickle`` raises in Ray, and calls that take the result as an argument."""


class _Result:
    """What both kinds have in common. A result that is dropped makes room for an execution."""

    __slots__ = ("_dag", "_execution_index", "_channel_index", "_was_taken", "__weakref__")

    def __init__(self, dag: CompiledDAG, execution_index: int, channel_index: int | None) -> None:
        self._dag = dag
        self._execution_index = execution_index
        self._channel_index = channel_index
        self._was_taken = False

    def __str__(self) -> str:
        return (
            f"{type(self).__name__}({self._dag.get_id()}, execution_index={self._execution_index}, "
            f"channel_index={self._channel_index})"
        )

    def __copy__(self) -> Any:
        raise ValueError(f"{type(self).__name__} cannot be copied.")

    def __deepcopy__(self, memo: Any) -> Any:
        raise ValueError(f"{type(self).__name__} cannot be deep copied.")

    def __reduce__(self) -> Any:
        name = type(self).__name__
        raise _NotPicklable(
            f"{name} cannot be pickled. {name} cannot be used as Ray task/actor argument."
        )

    def __del__(self) -> None:
        if not getattr(self, "_was_taken", True):
            self._dag._drop(self._execution_index, self._channel_index)


class CompiledDAGRef(_Result):
    """A result of :meth:`CompiledDAG.execute`, for ``ray.get``."""

    __slots__ = ()

    def __init__(
        self, dag: CompiledDAG, execution_index: int, channel_index: int | None = None
    ) -> None:
        """``channel_index``: the place among several outputs."""
        super().__init__(dag, execution_index, channel_index)

    def get(self, timeout: float | None = None) -> Any:
        """The value, once. ``timeout`` is in seconds: None is ``RAY_CGRAPH_get_timeout``, and -1
        without end.

        Raises what a method raised, ValueError at the second time, RayChannelTimeoutError after the
        timeout, RayChannelError after the graph was torn down.
        """
        if self._was_taken:
            raise ValueError(
                "ray.get() can only be called once on a CompiledDAGRef, and it was already called."
            )
        # Also where it fails: nobody can ask again, so there is nothing to keep.
        self._was_taken = True
        return self._dag._fetch(self._execution_index, self._channel_index, timeout)


class CompiledDAGFuture(_Result):
    """A result of :meth:`CompiledDAG.execute_async`, for ``await``."""

    __slots__ = ("_fut",)

    def __init__(
        self,
        dag: CompiledDAG,
        execution_index: int,
        fut: ObjectRef[Any],
        channel_index: int | None = None,
    ) -> None:
        """``fut`` is what is awaited; ``channel_index`` the place among several outputs."""
        super().__init__(dag, execution_index, channel_index)
        self._fut = fut

    def __await__(self) -> Generator[Any, None, Any]:
        """Raises what a method raised, ValueError at the second time."""
        if self._was_taken:
            raise ValueError(
                "CompiledDAGFuture can only be awaited upon once, and it has already been awaited "
                "upon."
            )
        self._dag._take(self._execution_index, self._channel_index)
        self._was_taken = True
        return self._fut.__await__()


def get_results(results: Any, timeout: float | None) -> Any:
    """What ``ray.get`` gives for one CompiledDAGRef or a list of them; see
    :meth:`CompiledDAGRef.get`."""
    if isinstance(results, CompiledDAGRef):
        return results.get(timeout)
    deadline = None if timeout is None or timeout < 0 else time.monotonic() + timeout
    values = []
    for result in results:
        left = timeout if deadline is None else max(0.0, deadline - time.monotonic())
        values.append(result.get(left))
    return values


def are_results(candidates: Any) -> bool:
    """Whether ``ray.get`` is asked for results of compiled graphs.

    Raises ValueError for a list with other things beside them.
    """
    if isinstance(candidates, CompiledDAGRef):
        return True
    if not isinstance(candidates, list):
        return False
    count = sum(isinstance(candidate, CompiledDAGRef) for candidate in candidates)
    if 0 < count < len(candidates):
        raise ValueError(
            "Invalid type of object refs. 'object_refs' must be a list of CompiledDAGRefs if there "
            "is any CompiledDAGRef within it."
        )
    return count > 0
