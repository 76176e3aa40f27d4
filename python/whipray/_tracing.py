"""Spans of OpenTelemetry around calls: where they are submitted, and where they run.

Nothing here is loaded, and no call asks whether there is something to trace, until a hook for
tracing is named (``init(_tracing_startup_hook=...)``, ``start --tracing-startup-hook``). Then the
attribute ``remote`` of functions and methods is replaced for as long as the connection lives.
Workers wrap what they run. The context of the caller travels as one more keyword argument.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from whipray import _actor_creation, _core, _session, actor, remote_function
from whipray._ids import ActorID
from whipray._tracing_hook import CONTEXT

_MISSING = (
    "tracing needs OpenTelemetry: install it with 'pip install opentelemetry-api opentelemetry-sdk'"
)
_PLAIN_CREATE = _actor_creation.create

_called: set[str] = set()
"""Hooks that have run: a process has one provider of tracers."""

_is_of_cluster = False


def set_up(hook: str) -> None:
    """Call ``hook``, a function named ``module:function``, unless this process has done so.

    Raises ImportError where OpenTelemetry or the function is missing, ValueError for another form,
    and what the function raises.
    """
    try:
        importlib.import_module("opentelemetry.trace")
    except ImportError as error:
        raise ImportError(_MISSING) from error
    if hook in _called:
        return
    module, separator, name = hook.partition(":")
    if not module or not separator or not name:
        raise ValueError(f'Import string "{hook}" must be in format "<module>:<attribute>".')
    function: Any = importlib.import_module(module)
    try:
        for part in name.split("."):
            function = getattr(function, part)
    except AttributeError:
        raise ImportError(f'Attribute "{name}" not found in module "{module}".') from None
    function()
    _called.add(hook)


def begin(of_cluster: bool) -> None:
    """Trace the calls that this process makes, until :func:`end`.

    ``of_cluster``: every job of the cluster is traced, and not this one alone.
    """
    global _is_of_cluster
    _is_of_cluster = of_cluster
    # A property goes before the attributes of the objects, those that were made before included.
    remote_function.RemoteFunction.remote = _TracedRemote(_function_call)  # type: ignore[assignment]
    actor.ActorMethod.remote = _TracedRemote(_method_call)  # type: ignore[assignment]
    vars(actor)["create"] = _create


def end() -> None:
    """Trace no calls any more."""
    for owner in (remote_function.RemoteFunction, actor.ActorMethod):
        if "remote" in owner.__dict__:
            del owner.remote
    vars(actor)["create"] = _PLAIN_CREATE


# -- where calls are submitted ------------------------------------------------------------------


class _TracedRemote:
    """In the place of the attribute ``remote``; the plain one stays in the object."""

    def __init__(self, make: Callable[[Any], Callable[..., Any]]) -> None:
        self._make = make

    def __get__(self, target: Any, owner: type | None = None) -> Any:
        if target is None:
            return self
        made = target.__dict__.get("_traced_remote")
        if made is None:
            made = target.__dict__["_traced_remote"] = self._make(target)
        return made

    def __set__(self, target: Any, value: Any) -> None:
        target.__dict__["remote"] = value


def _function_call(function: remote_function.RemoteFunction) -> Callable[..., Any]:
    prepare = functools.partial(
        remote_function._prepare, function._definition, function._default_options
    )
    call = _core.RemoteCall(prepare, _without_context(function._signature.bind))
    name = function._function_name

    def remote(*args: Any, **kwargs: Any) -> Any:
        _session.ensure()
        with _span(f"{name} ray.remote", "PRODUCER", _function_attributes(name)):
            return call.remote(*args, **kwargs, **{CONTEXT: _context()})

    return remote


def _method_call(method: actor.ActorMethod) -> Callable[..., Any]:
    reference, description, name = method._reference, method._description, method._method_name
    prepare = functools.partial(actor._prepare, reference, description, name, method._options)
    call = _core.RemoteCall(prepare, _without_context(description.methods[name].signature.bind))
    actor_id = ActorID(reference.actor_id)
    class_name = description.class_name

    def remote(*args: Any, **kwargs: Any) -> Any:
        attributes = {**_actor_attributes(class_name, name), "ray.actor_id": actor_id.hex()}
        with _span(f"{class_name}.{name} ray.remote", "PRODUCER", attributes):
            # The actor of another job may know nothing of tracing, and refuse the argument.
            knows = _is_of_cluster or actor_id.job_id.binary() == _session.current.info["job_id"]
            hidden = {CONTEXT: _context()} if knows and not name.startswith("__ray_") else {}
            return call.remote(*args, **kwargs, **hidden)

    return remote


def _create(
    cls: type,
    options: dict[str, Any],
    definition: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[_core.ActorRef, bytes]:
    _session.ensure()
    attributes = _actor_attributes(cls.__name__, "__init__")
    with _span(f"{cls.__name__}.__init__ ray.remote", "PRODUCER", attributes) as span:
        hidden = {CONTEXT: _context()}
        reference, description = _PLAIN_CREATE(cls, options, definition, args, kwargs, hidden)
        span.set_attribute("ray.actor_id", reference.actor_id.hex())
        return reference, description


def _without_context(bind: Callable[..., object]) -> Callable[..., object]:
    def bind_without_context(args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        return bind(args, {name: value for name, value in kwargs.items() if name != CONTEXT})

    return bind_without_context


def _context() -> dict[str, str]:
    from opentelemetry import propagate

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


# -- where calls run ----------------------------------------------------------------------------


def traced_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of a task, in a span that continues the one of its caller."""
    name = f"{function.__module__}.{function.__qualname__}"
    return _wrapped(
        function, f"{name} ray.remote_worker", functools.partial(_function_attributes, name)
    )


def trace_methods(cls: type) -> None:
    """Have the methods of the class of this process's actor run in spans of their own."""
    name = cls.__name__
    for method_name in dir(cls):
        method = _plain_method(cls, method_name)
        if method is not None:
            attributes = functools.partial(_actor_attributes, name, method_name)
            span_name = f"{name}.{method_name} ray.remote_worker"
            setattr(cls, method_name, _wrapped(method, span_name, attributes))


@contextmanager
def construction(cls: type, kwargs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The constructor of this process's actor, in a span of its own; gives its arguments."""
    own = dict(kwargs)
    if CONTEXT not in own:
        yield own
        return
    attributes = functools.partial(_actor_attributes, cls.__name__, "__init__")
    with _continued(own, f"{cls.__name__}.__init__ ray.remote_worker", attributes):
        yield own


def _plain_method(cls: type, name: str) -> Any:
    """The method that calls of an actor may name; None for attributes and what Python calls."""
    if name.startswith("__") and name != "__call__":
        return None
    for base in cls.__mro__:
        if name in base.__dict__:
            found = base.__dict__[name]
            return found if hasattr(found, "__code__") else None
    return None


def _wrapped(
    function: Callable[..., Any], name: str, attributes: Callable[[], dict[str, str]]
) -> Callable[..., Any]:
    """``function`` in spans; of the same kind, for the engine and the user ask for that."""
    import inspect

    wrapper: Callable[..., Any]
    if inspect.isasyncgenfunction(function):

        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            # Its steps run in different contexts: the span cannot be the current one of all.
            from opentelemetry import trace

            parent = _extracted(kwargs)
            span = trace.get_tracer(__name__).start_span(
                name, parent, trace.SpanKind.CONSUMER, attributes()
            )
            try:
                async for item in function(*args, **kwargs):
                    yield item
            finally:
                span.end()

    elif inspect.iscoroutinefunction(function):

        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            if CONTEXT not in kwargs:
                return await function(*args, **kwargs)
            with _continued(kwargs, name, attributes):
                return await function(*args, **kwargs)

    elif inspect.isgeneratorfunction(function):

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if CONTEXT not in kwargs:
                return (yield from function(*args, **kwargs))
            with _continued(kwargs, name, attributes):
                return (yield from function(*args, **kwargs))

    else:

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if CONTEXT not in kwargs:
                return function(*args, **kwargs)
            with _continued(kwargs, name, attributes):
                return function(*args, **kwargs)

    return functools.wraps(function)(wrapper)


@contextmanager
def _continued(
    kwargs: dict[str, Any], name: str, attributes: Callable[[], dict[str, str]]
) -> Iterator[None]:
    """A span below that of the caller, whose context is taken from ``kwargs``."""
    parent = _extracted(kwargs)
    if parent is None:
        yield
        return
    from opentelemetry import context

    token = context.attach(parent)
    try:
        with _span(name, "CONSUMER", attributes()):
            yield
    finally:
        context.detach(token)


def _extracted(kwargs: dict[str, Any]) -> Any:
    """The context of the caller, which is taken from the arguments; None without OpenTelemetry."""
    carrier = kwargs.pop(CONTEXT, None)
    try:
        from opentelemetry import propagate
    except ImportError:
        return None
    return propagate.extract(carrier or {})


# -- spans --------------------------------------------------------------------------------------


def _span(name: str, kind: str, attributes: dict[str, str]) -> Any:
    from opentelemetry import trace

    tracer = trace.get_tracer(__name__)
    return tracer.start_as_current_span(name, kind=trace.SpanKind[kind], attributes=attributes)


def _function_attributes(name: str) -> dict[str, str]:
    from whipray.runtime_context import get_runtime_context

    attributes = {"ray.remote": "function", "ray.function": name, **_process_attributes()}
    if _session.current.role == _session.WORKER:
        task_id = get_runtime_context().get_task_id()
        if task_id:
            attributes["ray.task_id"] = task_id
    return attributes


def _actor_attributes(class_name: str, method: str) -> dict[str, str]:
    from whipray.runtime_context import get_runtime_context

    attributes = {
        "ray.remote": "actor",
        "ray.actor_class": class_name,
        "ray.actor_method": method,
        "ray.function": f"{class_name}.{method}",
        **_process_attributes(),
    }
    if _session.current.role == _session.WORKER:
        actor_id = get_runtime_context().get_actor_id()
        if actor_id:
            attributes["ray.actor_id"] = actor_id
    return attributes


def _process_attributes() -> dict[str, str]:
    from whipray.runtime_context import get_runtime_context

    context = get_runtime_context()
    return {
        "ray.pid": str(os.getpid()),
        "ray.job_id": context.get_job_id(),
        "ray.node_id": context.get_node_id(),
        "ray.worker_id": context.get_worker_id(),
    }


def set_up_worker(hook: str, of_cluster: bool) -> None:
    """In a worker of a traced job: call the hook, and trace. A hook that fails is reported on the
    standard error: what comes from traced callers has to be understood all the same."""
    try:
        set_up(hook)
    except Exception as error:
        print(
            f"whipray: this process is not traced: {type(error).__name__}: {error}",
            file=sys.stderr,
        )
        return
    begin(of_cluster)
