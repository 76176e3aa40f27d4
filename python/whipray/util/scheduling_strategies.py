"""Where tasks and actors run: values of the option ``scheduling_strategy``.

The strings ``"DEFAULT"`` and ``"SPREAD"`` are such values, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Union

if TYPE_CHECKING:
    from whipray.util.placement_group import PlacementGroup

__all__ = [
    "DoesNotExist",
    "Exists",
    "In",
    "LabelMatchExpressionsT",
    "NodeAffinitySchedulingStrategy",
    "NodeLabelSchedulingStrategy",
    "NotIn",
    "PlacementGroupSchedulingStrategy",
    "SchedulingStrategyT",
]

_NODE_ID_DIGITS = 56


class PlacementGroupSchedulingStrategy:
    """Inside of a placement group, with nothing but what that has reserved.

    ``placement_group_bundle_index`` names one bundle; -1 takes any that has room. With
    ``placement_group_capture_child_tasks`` what is submitted from within goes into the group as
    well, unless it says where it goes; None asks for what the submitting task has.
    """

    def __init__(
        self,
        placement_group: PlacementGroup,
        placement_group_bundle_index: int = -1,
        placement_group_capture_child_tasks: bool | None = None,
    ) -> None:
        self.placement_group = placement_group
        self.placement_group_bundle_index = placement_group_bundle_index
        self.placement_group_capture_child_tasks = placement_group_capture_child_tasks


class NodeAffinitySchedulingStrategy:
    """On a certain node, given by its id in hexadecimal.

    With ``soft`` another node will do where that one is gone, or never could. Without, such a task
    raises TaskUnschedulableError, and such an actor ActorUnschedulableError.
    """

    def __init__(
        self,
        node_id: str,
        soft: bool,
        _spill_on_unavailable: bool = False,
        _fail_on_unavailable: bool = False,
    ) -> None:
        """Raises ValueError for what is no id of a node."""
        if _spill_on_unavailable and not soft:
            raise ValueError(
                "_spill_on_unavailable cannot be set when soft is False. Please set soft to True "
                "to use _spill_on_unavailable."
            )
        if _fail_on_unavailable and soft:
            raise ValueError(
                "_fail_on_unavailable cannot be set when soft is True. Please set soft to False to "
                "use _fail_on_unavailable."
            )
        self.node_id: str = node_id if isinstance(node_id, str) else _hex_of(node_id)
        self.soft = soft
        self._spill_on_unavailable = _spill_on_unavailable
        self._fail_on_unavailable = _fail_on_unavailable
        try:
            is_id = len(bytes.fromhex(self.node_id)) * 2 == _NODE_ID_DIGITS
        except ValueError:
            is_id = False
        if not is_id:
            raise ValueError(
                f"Invalid node_id '{self.node_id}'. Node ID must be a valid hex string. The ids of "
                "all nodes of the cluster are in ray.nodes()."
            )


def _hex_of(node_id: Any) -> str:
    return str(node_id.hex())


class In:
    """The label has one of these values."""

    def __init__(self, *values: str) -> None:
        """Raises ValueError for no values, and for what is no string."""
        _check_values("In", values)
        self.values = list(values)


class NotIn:
    """The label is missing, or has none of these values."""

    def __init__(self, *values: str) -> None:
        """Raises ValueError for no values, and for what is no string."""
        _check_values("NotIn", values)
        self.values = list(values)


class Exists:
    """The node has the label, with any value."""


class DoesNotExist:
    """The node has not the label."""


def _check_values(operator: str, values: tuple[Any, ...]) -> None:
    if not values:
        raise ValueError(
            f"The variadic parameter of the {operator} operator must be a non-empty tuple: "
            f'e.g. {operator}("value1", "value2").'
        )
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise ValueError(
                f"Type of value in position {index} for the {operator} operator must be str "
                f'(e.g. {operator}("value1", "value2")) but got {value} of type {type(value)}.'
            )


LabelMatchExpressionsT = dict[str, Union[In, NotIn, Exists, DoesNotExist]]
"""Conditions on labels, by the name of the label."""


class NodeLabelSchedulingStrategy:
    """On a node whose labels fulfil all conditions of ``hard``, and rather one that fulfils those
    of ``soft`` as well. Where no node does, a task waits for one."""

    def __init__(
        self,
        hard: LabelMatchExpressionsT,
        *,
        soft: LabelMatchExpressionsT | None = None,
    ) -> None:
        """Raises ValueError for no conditions at all, and for what are no conditions."""
        self.hard = _conditions(hard, "hard")
        self.soft = _conditions(soft, "soft")
        if not (self.hard or self.soft):
            raise ValueError(
                "The `hard` and `soft` parameter of NodeLabelSchedulingStrategy cannot both be "
                "empty."
            )


def _conditions(given: Any, name: str) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ValueError(
            f'The {name} parameter must be a map (e.g. {{"key1": In("value1")}}) but got type '
            f"{type(given)}."
        )
    for key, condition in given.items():
        if not isinstance(key, str):
            raise ValueError(
                f"The map key of the {name} parameter must be of type str "
                f'(e.g. {{"key1": In("value1")}}) but got {key} of type {type(key)}.'
            )
        if not isinstance(condition, (In, NotIn, Exists, DoesNotExist)):
            raise ValueError(
                f"The map value for key {key} of the {name} parameter must be one of the `In`, "
                f'`NotIn`, `Exists` or `DoesNotExist` operator (e.g. {{"key1": In("value1")}}) but '
                f"got {condition} of type {type(condition)}."
            )
    return given


SchedulingStrategyT = Union[
    None,
    str,
    PlacementGroupSchedulingStrategy,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
]
"""What the option ``scheduling_strategy`` takes."""
