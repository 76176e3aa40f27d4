"""From the options of an actor class to an actor."""

from __future__ import annotations

from typing import Any

from whipray import _actor_description, _core, _options, _session
from whipray._actor_description import Description
from whipray._function import Definition
from whipray._runtime_env import environment_of
from whipray._scheduling import strategy_of
from whipray.exceptions import ActorAlreadyExistsError

_ASYNC_CONCURRENCY = 1000


def create(
    cls: type,
    options: dict[str, Any],
    definition: Definition,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    hidden: dict[str, Any] | None = None,
) -> tuple[_core.ActorRef, bytes]:
    """Start an actor, or find the one of its name; the reference and the handle's description.

    ``hidden`` are keyword arguments for the worker, which the constructor does not see.

    Raises what :meth:`whipray.actor.ActorClass.remote` raises.
    """
    _check_names(options)
    _actor_description.constructor_signature(cls).bind(args, kwargs)
    resources, placement = _resources(options)
    environment = environment_of(options.get("runtime_env"))
    _session.ensure()
    strategy = strategy_of(options, resources, cls.__name__, needs_cpu=placement is not resources)
    namespace = options.get("namespace") or _session.current.namespace
    asynchronous = _actor_description.is_async(cls)
    max_task_retries = options.get("max_task_retries") or 0
    groups = _groups(options.get("concurrency_groups"))
    pending = options.get("max_pending_calls")
    max_pending_calls = max(0, -1 if pending is None else pending)
    concurrency = options.get("max_concurrency")
    description = Description(
        class_name=cls.__qualname__,
        module=cls.__module__,
        function_id=definition.export(),
        methods=_actor_description.methods_of(cls),
        max_task_retries=max_task_retries,
        concurrency_groups=tuple(groups),
        max_pending_calls=max_pending_calls,
        out_of_order=_out_of_order(options, asynchronous, concurrency),
        generator_window=options.get("_actor_generator_backpressure_num_objects"),
    )
    for method in description.methods.values():
        description.check_group(method.options.get("concurrency_group"))
    handle = description.dump()
    specification = {
        "function_id": definition.export(),
        "class_name": cls.__name__,
        "qualified_name": definition.name,
        "name": options.get("name"),
        "namespace": namespace,
        "detached": _is_detached(options.get("lifetime")),
        "get_if_exists": bool(options.get("get_if_exists")),
        "resources": resources,
        "placement": placement,
        "max_restarts": options.get("max_restarts") or 0,
        "max_task_retries": max_task_retries,
        "max_concurrency": concurrency or (_ASYNC_CONCURRENCY if asynchronous else 1),
        "is_async": asynchronous,
        "concurrency_groups": groups,
        "handle": handle,
        "environment": environment,
        "strategy": strategy,
        "max_pending_calls": max_pending_calls,
    }
    try:
        reference, existing = _core.create_actor(specification, args, {**kwargs, **(hidden or {})})
    except ActorAlreadyExistsError:
        name, given = options.get("name"), options.get("namespace")
        raise ActorAlreadyExistsError(
            f"The name {name} (namespace={given}) is already taken. Please use a different name or "
            f"get the existing actor using ray.get_actor('{name}', namespace='{given}')"
        ) from None
    return reference, handle if existing is None else existing


def _out_of_order(options: dict[str, Any], asynchronous: bool, concurrency: int | None) -> bool:
    """Whether calls may overtake others that wait for their arguments.

    Raises ValueError where calls run beside each other anyway, and were to keep their order.
    """
    given: bool | None = options.get("allow_out_of_order_execution")
    threaded = concurrency is not None and concurrency > 1
    if given is False and (asynchronous or threaded):
        kind = "async" if asynchronous else "multi-threaded"
        raise ValueError(
            f"If you're using {kind} actors, Ray can't execute actor tasks in order. Set "
            "`allow_out_of_order_execution=True` to allow out-of-order execution."
        )
    return asynchronous or threaded if given is None else given


def _is_detached(lifetime: str | None) -> bool:
    return _session.current.detached_actors if lifetime is None else lifetime == "detached"


def _check_names(options: dict[str, Any]) -> None:
    name, namespace = options.get("name"), options.get("namespace")
    if name == "":
        raise ValueError("Actor name cannot be an empty string.")
    if namespace == "":
        raise ValueError('"" is not a valid namespace. Pass None to not specify a namespace.')
    if options.get("get_if_exists") and name is None:
        raise ValueError("The actor name must be specified to use `get_if_exists`.")


def _resources(options: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """What the actor holds while it lives, and what its node must have in all."""
    asked = any(options.get(name) is not None for name in ("num_cpus", "num_gpus", "resources"))
    # An actor that says nothing shares the CPUs with everybody; one that says something holds a CPU
    # for itself as a task does, unless it says otherwise.
    held = _options.resources_of(options, default_cpus=1 if asked else 0)
    return held, held if asked else {"CPU": 1.0, **held}


def _groups(groups: Any) -> dict[str, int]:
    if not groups:
        return {}
    if isinstance(groups, list):
        groups = {group["name"]: group["max_concurrency"] for group in groups}
    for name, size in groups.items():
        if not isinstance(name, str) or not isinstance(size, int) or size < 1:
            raise ValueError(
                "concurrency_groups maps names to numbers of calls that may run at once, at least "
                f"1; got {name!r}: {size!r}"
            )
    return dict(groups)
