"""Options of remote functions and actors: their names, types, values and defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_Check = Callable[[str, Any], None]

_NONE = type(None)
_NUMBER = (float, int, _NONE)
_COUNT = (int, _NONE)

_SMALLEST_AMOUNT = 0.0001
"""Of a resource: what is less could not be told from nothing."""


def _no_check(name: str, value: Any) -> None:
    """Any value of the right type will do."""


def _not_negative(name: str, value: Any) -> None:
    if value is None:
        return
    if value < 0:
        raise ValueError(f"The quantity of resource {name} cannot be negative")
    if value != value:
        raise ValueError(f"The quantity of resource {name} must be a number, not {value}")
    if value == float("inf"):
        raise OverflowError(f"The quantity of resource {name} must be finite, not {value}")
    if 0 < value < _SMALLEST_AMOUNT:
        raise ValueError(
            f"The precision of the fractional quantity of resource {name} cannot go beyond "
            f"{_SMALLEST_AMOUNT}"
        )


def _retries(name: str, value: Any) -> None:
    if value is not None and value < -1:
        raise ValueError(
            f"The keyword '{name}' only accepts None, 0, -1 or a positive integer, "
            "where -1 represents infinity."
        )


def _window(name: str, value: Any) -> None:
    if value == 0:
        raise ValueError(
            f"{name}=0 is not allowed. Use a value > 0. If the value is equal to 1, the behavior "
            "is identical to Python generator (generator 1 object whenever `next` is called). Use "
            "-1 to disable this feature. "
        )
    _positive_or_unlimited(name, value)


def _positive_or_unlimited(name: str, value: Any) -> None:
    if value is not None and (value < -1 or value == 0):
        raise ValueError(f"The keyword '{name}' only accepts None, -1 or a positive integer")


def _at_least_one(name: str, value: Any) -> None:
    if value is not None and value < 1:
        raise ValueError(f"The keyword '{name}' only accepts None or a positive integer")


def _natural(name: str, value: Any) -> None:
    if value is not None and value < 0:
        raise ValueError(f"The keyword '{name}' only accepts None, 0 or a positive integer.")


def _not_there(name: str, value: Any) -> None:
    if value:
        raise ValueError(f"The keyword '{name}' is not supported: there is no such transport")


def _for_actors_only(name: str, value: Any) -> None:
    if value is not None:
        raise ValueError(f"Setting '{name}' is not implemented for tasks")


def _num_returns(name: str, value: Any) -> None:
    number = isinstance(value, int) and value >= 0
    if value is None or number or value in ("streaming", "dynamic"):
        return
    kind = TypeError if isinstance(value, str) else ValueError
    raise kind(
        "The keyword 'num_returns' only accepts None, a non-negative integer, 'streaming' (for "
        f"generators), or 'dynamic'. Got: {value!r}"
    )


def _resources(name: str, value: Any) -> None:
    if value is None:
        return
    if "CPU" in value or "GPU" in value:
        raise ValueError(
            "Use the 'num_cpus' and 'num_gpus' keyword instead of 'CPU' and 'GPU' in 'resources' "
            "keyword"
        )
    if "memory" in value or "object_store_memory" in value:
        raise ValueError(
            "The resources dictionary must not contain the key 'memory' or 'object_store_memory'"
        )
    for resource, amount in value.items():
        if not isinstance(resource, str):
            raise TypeError(f"The name of a resource must be a string, not {resource!r}")
        if not isinstance(amount, (int, float)):
            raise TypeError(f"The quantity of resource {resource} must be a number, not {amount!r}")
        _not_negative(resource, amount)


def _retry_exceptions(name: str, value: Any) -> None:
    if isinstance(value, bool):
        return
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in value):
        raise ValueError("retry_exceptions must be either a boolean or a list of exceptions")


def _lifetime(name: str, value: Any) -> None:
    if value not in (None, "detached", "non_detached"):
        raise ValueError(
            "actor `lifetime` argument must be one of 'detached', 'non_detached' and 'None'."
        )


def _label_selector(name: str, value: Any) -> None:
    if value:
        from whipray._labels import check_selector

        check_selector(value)


def _fallback_strategy(name: str, value: Any) -> None:
    for fallback in value or ():
        if not isinstance(fallback, dict):
            raise ValueError(f"Each element in {name} must be a dictionary.")
        if not fallback:
            raise ValueError(f"Empty dictionary found in `{name}`.")
        for option, selector in fallback.items():
            if option != "label_selector":
                raise ValueError(
                    f"Unsupported option found: '{option}'. Only ['label_selector'] is currently "
                    "supported."
                )
            if not isinstance(selector, dict):
                raise ValueError('The value of "label_selector" must be a dictionary.')
            _label_selector(name, selector)


def _runtime_env(name: str, value: Any) -> None:
    # Folders are looked for where the task is called: they may not be there yet.
    if value and value.get("env_vars"):
        from whipray._runtime_env import check_variables

        check_variables(value["env_vars"])


def _scheduling_strategy(name: str, value: Any) -> None:
    if value is None or isinstance(value, str):
        return
    from whipray.util.scheduling_strategies import (
        NodeAffinitySchedulingStrategy,
        NodeLabelSchedulingStrategy,
        PlacementGroupSchedulingStrategy,
    )

    _of_type(
        name,
        value,
        _NONE,
        str,
        PlacementGroupSchedulingStrategy,
        NodeAffinitySchedulingStrategy,
        NodeLabelSchedulingStrategy,
    )


def _placement_group(name: str, value: Any) -> None:
    if value is None or isinstance(value, str):
        return
    from whipray.util.placement_group import PlacementGroup

    _of_type(name, value, _NONE, str, PlacementGroup)


def _of_type(name: str, value: Any, *types: type) -> None:
    if not isinstance(value, types):
        raise TypeError(
            f"The type of keyword '{name}' must be {types}, but received type {type(value)}"
        )


class Option:
    """One option: the types that it takes, its default, and the check of its value."""

    __slots__ = ("check", "default", "types")

    def __init__(self, types: tuple[type, ...], default: Any, check: _Check = _no_check) -> None:
        self.types = types
        self.default = default
        self.check = check

    def validate(self, name: str, value: Any) -> None:
        """Raises TypeError for a type, ValueError for a value that the option does not take."""
        if self.types and not isinstance(value, self.types):
            types = self.types if len(self.types) > 1 else self.types[0]
            raise TypeError(
                f"The type of keyword '{name}' must be {types}, but received type {type(value)}"
            )
        self.check(name, value)


_COMMON: dict[str, Option] = {
    "label_selector": Option((dict, _NONE), None, _label_selector),
    "fallback_strategy": Option((list, _NONE), None, _fallback_strategy),
    "accelerator_type": Option((str, _NONE), None),
    "memory": Option(_NUMBER, None, _not_negative),
    "name": Option((str, _NONE), None),
    "num_cpus": Option(_NUMBER, None, _not_negative),
    "num_gpus": Option(_NUMBER, None, _not_negative),
    "object_store_memory": Option(_COUNT, None, _natural),
    # The types of these two are checked where they are needed, so that nobody else loads them.
    "placement_group": Option((), "default", _placement_group),
    "placement_group_bundle_index": Option((int,), -1),
    "placement_group_capture_child_tasks": Option((bool, _NONE), None),
    "resources": Option((dict, _NONE), None, _resources),
    "runtime_env": Option((dict, _NONE), None, _runtime_env),
    "scheduling_strategy": Option((), None, _scheduling_strategy),
    "enable_task_events": Option((bool,), True),
    "_labels": Option((dict, _NONE), None),
}

TASK: dict[str, Option] = {
    **_COMMON,
    "max_calls": Option(_COUNT, 0, _natural),
    "max_retries": Option(_COUNT, 3, _retries),
    "num_cpus": Option(_NUMBER, 1, _not_negative),
    "num_returns": Option((int, str, _NONE), None, _num_returns),
    "object_store_memory": Option(_COUNT, None, _for_actors_only),
    "retry_exceptions": Option((bool, list, tuple), False, _retry_exceptions),
    "_generator_backpressure_num_objects": Option(_COUNT, None, _window),
    "_num_objects_per_yield": Option(_COUNT, 1, _at_least_one),
}

ACTOR: dict[str, Option] = {
    **_COMMON,
    "allow_out_of_order_execution": Option((bool, _NONE), None),
    "concurrency_groups": Option((list, dict, _NONE), None),
    "enable_tensor_transport": Option((bool, _NONE), None, _not_there),
    "get_if_exists": Option((bool,), False),
    "lifetime": Option((str, _NONE), None, _lifetime),
    "max_concurrency": Option(_COUNT, None, _natural),
    "max_pending_calls": Option(_COUNT, -1, _retries),
    "max_restarts": Option(_COUNT, 0, _retries),
    "max_task_retries": Option(_COUNT, 0, _retries),
    "namespace": Option((str, _NONE), None),
    "_actor_generator_backpressure_num_objects": Option(_COUNT, None, _window),
}


_FIXED = {
    "concurrency_groups": "Setting 'concurrency_groups' is not supported in '.options()'.",
    "max_calls": "Setting 'max_calls' is not supported in '.options()'.",
    "_num_objects_per_yield": (
        "_num_objects_per_yield cannot be overridden per task call. "
        "Use @ray.remote(_num_objects_per_yield=...) instead."
    ),
}
"""What belongs to the definition, with the words that refuse it elsewhere."""


def validate_task(options: dict[str, Any]) -> None:
    """Check options of a remote function.

    Raises ValueError for an unknown name (listing the known ones) or a bad value, TypeError for a
    bad type.
    """
    _validate(options, TASK, "remote functions")


def validate_task_changes(options: dict[str, Any]) -> None:
    """The same for ``.options(...)``, which cannot set all of them."""
    validate_task(options)
    _refuse_fixed(options)


def validate_actor(options: dict[str, Any]) -> None:
    """Check options of an actor class; raises as :func:`validate_task`."""
    _validate(options, ACTOR, "actors")
    if options.get("get_if_exists") and not options.get("name"):
        raise ValueError("The actor name must be specified to use `get_if_exists`.")


def validate_actor_changes(options: dict[str, Any]) -> None:
    """The same for ``.options(...)``, which cannot set all of them."""
    _validate(options, ACTOR, "actors")
    _refuse_fixed(options)


def validate_method(options: dict[str, Any]) -> None:
    """Check options of one method, whose names are known to be right.

    Raises TypeError for a type, ValueError for a value that the option does not take.
    """
    num_returns = options.get("num_returns")
    if isinstance(num_returns, int) and num_returns < 0:
        raise ValueError(f"num_returns must be >= 0, but got {num_returns}.")
    _not_there("tensor_transport", options.get("tensor_transport"))
    if "_num_objects_per_yield" in options:
        TASK["_num_objects_per_yield"].validate(
            "_num_objects_per_yield", options["_num_objects_per_yield"]
        )


def _refuse_fixed(options: dict[str, Any]) -> None:
    for name, refusal in _FIXED.items():
        if name in options:
            raise ValueError(refusal)


def _validate(options: dict[str, Any], known: dict[str, Option], whose: str) -> None:
    for name, value in options.items():
        option = known.get(name)
        if option is None:
            raise ValueError(
                f"Invalid option keyword {name} for {whose}. Valid ones are {sorted(known)}."
            )
        option.validate(name, value)


def resources_of(options: dict[str, Any], default_cpus: float) -> dict[str, float]:
    """Names and amounts of what the options ask for, without the amounts that are zero.

    Raises ValueError for an amount of GPUs above one that is no whole number.
    """
    cpus = options.get("num_cpus")
    gpus = options.get("num_gpus") or 0
    if gpus > 1 and gpus != int(gpus):
        raise ValueError(
            f"GPU resource quantities >1 must be whole numbers. The specified quantity {gpus} is "
            "invalid."
        )
    amounts = {
        "CPU": default_cpus if cpus is None else cpus,
        "GPU": gpus,
        "memory": int(options.get("memory") or 0),
        "object_store_memory": options.get("object_store_memory") or 0,
        **(options.get("resources") or {}),
    }
    if options.get("accelerator_type"):
        # A node with that kind of accelerator has one unit of this resource, for any number of
        # users.
        amounts[f"accelerator_type:{options['accelerator_type']}"] = 0.001
    return {name: float(amount) for name, amount in amounts.items() if amount}
