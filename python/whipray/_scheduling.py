"""From the options of a task or an actor to where it may run, as the core takes it."""

from __future__ import annotations

from typing import Any

from whipray import _core, _labels

Strategy = dict[str, Any]
"""See ``strategy`` of :class:`whipray._core.RemoteCall`."""


def strategy_of(
    options: dict[str, Any], resources: dict[str, float], name: str, needs_cpu: bool = False
) -> Strategy | None:
    """Where something with these options may run; None for the default.

    ``resources`` is what it asks for and ``name`` what messages call it. ``needs_cpu``: it is an
    actor that holds no CPU, and whose node must have one. Raises ValueError for options that
    contradict each other, or a placement group that it does not fit into.
    """
    strategy = options.get("scheduling_strategy")
    group = options.get("placement_group", "default")
    index = options.get("placement_group_bundle_index", -1)
    captures = options.get("placement_group_capture_child_tasks")
    if strategy is None and group == "default" and index == -1:
        # Nearly every call comes this way.
        chosen = _captured(resources, name, needs_cpu)
    else:
        if strategy is not None and (group != "default" or index != -1):
            raise ValueError(
                "Placement groups should be specified via the scheduling_strategy option. The "
                "placement_group option is deprecated."
            )
        if strategy is None:
            strategy = _Legacy(group, index, captures)
        chosen = _explicit(strategy, resources, name, needs_cpu)
    selectors = _selectors(options)
    if selectors:
        chosen = {**(chosen or {}), "selectors": selectors}
    return chosen


class _Legacy:
    """The options that stand for a placement group without a strategy."""

    def __init__(self, group: Any, index: int, captures: bool | None) -> None:
        self.placement_group = group
        self.placement_group_bundle_index = index
        self.placement_group_capture_child_tasks = captures


def _captured(resources: dict[str, float], name: str, needs_cpu: bool) -> Strategy | None:
    captured = _core.captured_group()
    if captured is None:
        return None
    from whipray._ids import PlacementGroupID
    from whipray.util.placement_group import PlacementGroup, check_fits

    group = PlacementGroup(PlacementGroupID(captured))
    check_fits(group, resources, name, needs_cpu)
    return {"group": (captured, None, True)}


def _explicit(
    strategy: Any, resources: dict[str, float], name: str, needs_cpu: bool
) -> Strategy | None:
    from whipray.util import scheduling_strategies as strategies

    if isinstance(strategy, str):
        if strategy not in ("DEFAULT", "SPREAD"):
            raise ValueError(
                f'Invalid scheduling_strategy value {strategy}. Valid values are ["DEFAULT" | '
                '"SPREAD" | PlacementGroupSchedulingStrategy | NodeAffinitySchedulingStrategy]'
            )
        return {"spreads": True} if strategy == "SPREAD" else None
    if isinstance(strategy, strategies.NodeAffinitySchedulingStrategy):
        node = bytes.fromhex(strategy.node_id)
        spills, fails = strategy._spill_on_unavailable, strategy._fail_on_unavailable
        return {"affinity": (node, bool(strategy.soft), bool(spills), bool(fails))}
    if isinstance(strategy, strategies.NodeLabelSchedulingStrategy):
        chosen: Strategy = {"hard": _terms(strategy.hard)}
        if strategy.soft:
            chosen["soft"] = _terms(strategy.soft)
        return chosen
    return _in_group(strategy, resources, name, needs_cpu)


def _in_group(
    strategy: Any, resources: dict[str, float], name: str, needs_cpu: bool
) -> Strategy | None:
    from whipray.util.placement_group import check_fits, check_placement_group_index

    group, index = strategy.placement_group, strategy.placement_group_bundle_index
    if group is None or isinstance(group, str) or group.is_empty:
        if index != -1:
            raise ValueError("If placement group is not set, the value of bundle index must be -1.")
        if isinstance(group, str) and group != "default":
            raise ValueError(
                f"placement_group is a PlacementGroup, None or 'default', not {group!r}"
            )
        return _captured(resources, name, needs_cpu) if group == "default" else None
    check_placement_group_index(group, index)
    check_fits(group, resources, name, needs_cpu)
    captures = strategy.placement_group_capture_child_tasks
    if captures is None:
        captures = _core.captured_group() is not None
    return {"group": (group.id.binary(), None if index == -1 else index, bool(captures))}


def _selectors(options: dict[str, Any]) -> list[list[_labels.Term]]:
    """The selector of the options, then those that count where no node matches those before."""
    selector = options.get("label_selector")
    fallbacks = options.get("fallback_strategy") or []
    if not selector and not fallbacks:
        return []
    chain = [selector or {}, *(fallback.get("label_selector") or {} for fallback in fallbacks)]
    return [_labels.terms_of(selector) for selector in chain]


def _terms(conditions: dict[str, Any]) -> list[_labels.Term]:
    from whipray.util import scheduling_strategies as strategies

    operators = {
        strategies.In: _labels.IN,
        strategies.NotIn: _labels.NOT_IN,
        strategies.Exists: _labels.EXISTS,
        strategies.DoesNotExist: _labels.DOES_NOT_EXIST,
    }
    return [
        (key, operators[type(condition)], list(getattr(condition, "values", ())))
        for key, condition in conditions.items()
    ]
