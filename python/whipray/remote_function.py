"""Remote functions: what :func:`whipray.remote` makes of a function."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from whipray import _core, _generators, _options, _session, _signature
from whipray._function import Definition
from whipray._scheduling import strategy_of

if TYPE_CHECKING:
    from whipray.dag.function_node import FunctionNode

__all__ = ["RemoteFunction"]

_COROUTINE_FLAG = 0x80


class RemoteFunction:
    """A function whose calls run as tasks: ``function.remote(...)`` submits one.

    The definition is pickled at the first call, with the values that it closes over at that time.
    """

    remote: Callable[..., Any]
    """Submit a task. Top-level ObjectRefs among the arguments are replaced by their values.

    Returns an ObjectRef, a list of them where ``num_returns`` is above 1, None where it is 0; an
    ObjectRefGenerator for a function with ``yield``, unless ``num_returns`` says otherwise.
    Raises TypeError for arguments that the function does not take or that cannot be pickled.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        options: dict[str, Any],
        definition: Definition | None = None,
    ) -> None:
        """For :func:`whipray.remote`.

        Raises ValueError and TypeError for bad options, ValueError for a coroutine function.
        """
        _options.validate_task(options)
        code = getattr(function, "__code__", None)
        if code is not None and code.co_flags & _COROUTINE_FLAG:
            raise ValueError(
                "'async def' should not be used for remote tasks. You can wrap the async function "
                "with `asyncio.run(f())`, or make it a method of an actor."
            )
        if options.get("num_gpus") and options.get("max_calls") is None and definition is None:
            # What a library keeps of a GPU's memory goes with the process.
            options = {**options, "max_calls": 1}
        _generators.check(options.get("num_returns"), _generators.is_generator(function))
        self._function = function
        self._function_name = f"{function.__module__}.{function.__qualname__}"
        self._default_options = options
        self._definition = definition or Definition(function, "function")
        self._signature = _signature.of(function)
        self.__doc__ = function.__doc__
        # Not a method of this object: the core's call must not keep alive what keeps it alive.
        prepare = functools.partial(_prepare, self._definition, options)
        call = _core.RemoteCall(prepare, self._signature.bind)
        self.remote = call.remote

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raises TypeError: remote functions run in other processes only."""
        raise TypeError(
            "Remote functions cannot be called directly. Instead of running "
            f"'{self._function_name}()', try '{self._function_name}.remote()'."
        )

    def options(self, **task_options: Any) -> RemoteFunction:
        """The same function with other options; this one stays as it is.

        Raises ValueError for an unknown option or a bad value, TypeError for a value of a wrong
        type.
        """
        _options.validate_task_changes(task_options)
        merged = merge_options(self._default_options, task_options)
        return RemoteFunction(self._function, merged, self._definition)

    def bind(self, *args: Any, **kwargs: Any) -> FunctionNode:
        """A node of a graph: the call, to be made when the graph is executed."""
        from whipray.dag.function_node import FunctionNode

        return FunctionNode(self, args, kwargs, self._default_options)

    def _remote(
        self,
        args: tuple[Any, ...] | list[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        **task_options: Any,
    ) -> Any:
        """Submit with arguments as values and options in one call."""
        function = self.options(**task_options) if task_options else self
        return function.remote(*(args or ()), **(kwargs or {}))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._function, self._default_options, *self._definition.known_as())


def _prepare(definition: Definition, options: dict[str, Any]) -> dict[str, Any]:
    """What the core must know to submit; see :class:`whipray._core.RemoteCall`."""
    from whipray._runtime_env import environment_of

    resources = _options.resources_of(options, default_cpus=1)
    environment = environment_of(options.get("runtime_env"))
    generates = _generators.is_generator(definition.target)
    num_returns, generator = _generators.returns_of(options, generates)
    _session.ensure()
    strategy = strategy_of(options, resources, definition.target.__name__)
    retry = options.get("retry_exceptions", False)
    max_retries = options.get("max_retries")
    return {
        "function_id": definition.export(),
        "name": options.get("name") or definition.target.__name__,
        "qualified_name": definition.name,
        "method": "",
        "resources": resources,
        "environment": environment,
        "strategy": strategy,
        "num_returns": num_returns,
        "generator": generator,
        "max_retries": default_retries() if max_retries is None else max_retries,
        "retry_any_exception": retry is True,
        "retry_exceptions": pickled_types(retry),
        "concurrency_group": "",
        "max_calls": options.get("max_calls") or 0,
        "actor": None,
    }


def _rebuild(
    function: Callable[..., Any], options: dict[str, Any], cluster: str, identity: bytes
) -> RemoteFunction:
    copy = RemoteFunction(function, options)
    copy._definition.is_known_as(cluster, identity)
    return copy


def merge_options(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """``old`` with what ``new`` says; variables of runtime environments are joined."""
    merged = {**old, **new}
    if old.get("runtime_env") and new.get("runtime_env"):
        from whipray._runtime_env import merge

        merged["runtime_env"] = merge(old["runtime_env"], new["runtime_env"])
    return merged


def default_retries() -> int:
    """Retries of a task after a crash, where its options do not say (``RAY_TASK_MAX_RETRIES``)."""
    import os

    return int(os.environ.get("RAY_TASK_MAX_RETRIES", "3"))


def pickled_types(retry_exceptions: bool | list[type] | tuple[type, ...]) -> bytes:
    """The pickled tuple of exception types that are retried; empty where there is none."""
    if isinstance(retry_exceptions, bool) or not retry_exceptions:
        return b""
    from whipray._serialization import dumps

    return dumps(tuple(retry_exceptions))
