"""Placement groups: resources that are reserved together, all of them or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from whipray import _core, _labels, _session
from whipray._ids import PlacementGroupID

if TYPE_CHECKING:
    from whipray._core import ObjectRef

__all__ = [
    "PlacementGroup",
    "check_placement_group_index",
    "get_current_placement_group",
    "get_placement_group",
    "placement_group",
    "placement_group_table",
    "remove_placement_group",
    "validate_placement_group",
]

NODE_ID_LABEL_KEY = "ray.io/node-id"
VALID_PLACEMENT_GROUP_STRATEGIES = {"PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"}

_STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
_SCHEDULING_STATES = {"CREATED": "FINISHED", "REMOVED": "REMOVED"}
_EXAMPLE = 'For example: `[{"CPU": 1.0}, {"GPU": 1.0}]`.'


class PlacementGroup:
    """A placement group, for passing on: as an option, inside of arguments and results.

    It stays until it is removed, or the program that created it ends.
    """

    __slots__ = ("bundle_cache", "id")

    @staticmethod
    def empty() -> PlacementGroup:
        """What stands for no group."""
        return PlacementGroup(PlacementGroupID.nil())

    def __init__(
        self, id: PlacementGroupID, bundle_cache: list[dict[str, float]] | None = None
    ) -> None:
        self.id = id
        self.bundle_cache = bundle_cache

    @property
    def is_empty(self) -> bool:
        """Whether this stands for no group."""
        return self.id.is_nil()

    def ready(self) -> ObjectRef[Any]:
        """A reference that becomes ready, with this group as its value, once all is reserved.

        Its value is TaskPlacementGroupRemoved where the group is removed before.
        """
        _session.ensure()
        data, _ = _core.serialize(self)
        return _core.group_object(self.id.binary(), data)

    def wait(self, timeout_seconds: float | int = 30) -> bool:
        """Whether all is reserved within this time.

        Raises Exception where there is no such group (any more).
        """
        _session.ensure()
        created = _core.wait_group(self.id.binary(), timeout_seconds)
        if created is None:
            raise Exception(f"Placement group {self.id} does not exist.")
        return created

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        """The resources of each bundle."""
        if self.bundle_cache is None:
            self.bundle_cache = _bundles_of(self.id)
        return self.bundle_cache

    @property
    def bundle_count(self) -> int:
        """The number of bundles."""
        return len(self.bundle_specs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PlacementGroup):
            return False
        return self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __reduce__(self) -> tuple[Any, ...]:
        return PlacementGroup, (self.id, self.bundle_cache)


def placement_group(
    bundles: list[dict[str, float]],
    strategy: str | None = None,
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
    topology_strategy: dict[str, str] | None = None,
) -> PlacementGroup:
    """Ask for resources that are reserved together; returns at once.

    ``strategy``: "PACK" (the default) on few nodes, "SPREAD" on many, "STRICT_PACK" on one,
    "STRICT_SPREAD" each bundle on a node of its own. The group ends with the program, unless
    ``lifetime`` is "detached". ``bundle_label_selector`` has the labels that the node of each
    bundle must have.

    Raises ValueError for a group that makes no sense, TypeError for a name that is no text,
    RaySystemError for a name that is taken.
    """
    validate_placement_group(
        bundles, strategy, lifetime, _soft_target_node_id, bundle_label_selector, topology_strategy
    )
    if not isinstance(name, str):
        raise TypeError(f"the name of a placement group must be a string, not {type(name)}")
    _session.ensure()
    specs = [{key: float(amount) for key, amount in bundle.items() if amount} for bundle in bundles]
    selectors: list[list[_labels.Term] | None] = [None] * len(specs)
    if bundle_label_selector:
        selectors = [_labels.terms_of(selector) or None for selector in bundle_label_selector]
    identity = _core.create_group(
        list(zip(specs, selectors)),
        _STRATEGIES.index(strategy or "PACK"),
        name,
        _session.current.namespace,
        lifetime == "detached",
        bytes.fromhex(_soft_target_node_id) if _soft_target_node_id else None,
    )
    return PlacementGroup(PlacementGroupID(identity), specs)


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Give the resources back. Actors and tasks inside are ended; nothing where it is gone."""
    assert placement_group is not None
    identity = placement_group.id.binary()
    _session.ensure()
    _core.remove_group(identity)


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """The group of this name, in this program's namespace.

    Raises ValueError where there is none.
    """
    if not placement_group_name:
        raise ValueError("Please supply a non-empty value to get_placement_group")
    _session.ensure()
    found = _core.list_groups(None, placement_group_name, _session.current.namespace)
    if not found:
        raise ValueError(f"Failed to look up placement group with name: {placement_group_name}")
    return PlacementGroup(PlacementGroupID(found[0]["id"]), found[0]["bundles"])


def get_current_placement_group() -> PlacementGroup | None:
    """The group in which the current task or actor runs; None outside of groups."""
    _session.ensure()
    identity = _core.context()["group"]
    return None if identity is None else PlacementGroup(PlacementGroupID(identity))


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """What is known of one group, or of all by their ids in hexadecimal; removed ones included."""
    _session.ensure()
    if placement_group is None:
        found = _core.list_groups(None, "", "")
        return {group["id"].hex(): description(group) for group in found}
    found = _core.list_groups(placement_group.id.binary(), "", "")
    return description(found[0]) if found else {}


def description(group: dict[str, Any]) -> dict[str, Any]:
    """The entry of the table for what the core says of a group."""
    state = group["state"]
    scheduling_state = _SCHEDULING_STATES.get(state)
    if scheduling_state is None:
        scheduling_state = "INFEASIBLE" if group["infeasible"] else "QUEUED"
    nodes = group["nodes"] or [""] * len(group["bundles"])
    return {
        "placement_group_id": group["id"].hex(),
        "name": group["name"],
        "bundles": dict(enumerate(group["bundles"])),
        "bundles_to_node_id": dict(enumerate(nodes)),
        "strategy": _STRATEGIES[group["strategy"]],
        "state": state,
        "stats": {
            "end_to_end_creation_latency_ms": group["creation_us"] / 1000,
            "scheduling_latency_ms": group["scheduling_us"] / 1000,
            "scheduling_attempt": group["attempts"],
            "highest_retry_delay_ms": 0.0,
            "scheduling_state": scheduling_state,
        },
    }


def _bundles_of(identity: PlacementGroupID) -> list[dict[str, float]]:
    if identity.is_nil():
        return []
    _session.ensure()
    found = _core.list_groups(identity.binary(), "", "")
    bundles: list[dict[str, float]] = found[0]["bundles"] if found else []
    return bundles


def validate_placement_group(
    bundles: list[dict[str, float]],
    strategy: str | None = None,
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
    topology_strategy: dict[str, str] | None = None,
) -> bool:
    """Whether such a group could be asked for: True, or ValueError with what is wrong."""
    if topology_strategy is not None:
        raise ValueError("topology_strategy is not supported: name nodes by their labels instead.")
    if strategy is not None and strategy not in VALID_PLACEMENT_GROUP_STRATEGIES:
        raise ValueError(
            f"Invalid placement group strategy {strategy}. Supported strategies are: "
            f"{VALID_PLACEMENT_GROUP_STRATEGIES}."
        )
    if _soft_target_node_id is not None:
        _check_soft_target(strategy, _soft_target_node_id)
    _check_bundles(bundles)
    if bundle_label_selector is not None:
        _check_selectors(bundles, bundle_label_selector)
    if lifetime not in (None, "detached"):
        raise ValueError(
            f"Placement group `lifetime` argument must be either `None` or 'detached'. "
            f"Got {lifetime}."
        )
    return True


def _check_soft_target(strategy: str | None, node_id: Any) -> None:
    if strategy != "STRICT_PACK":
        raise ValueError(
            "_soft_target_node_id currently only works with STRICT_PACK but got "
            f"{strategy or 'PACK'}"
        )
    try:
        is_id = len(bytes.fromhex(node_id)) == 28
    except (TypeError, ValueError):
        is_id = False
    if not is_id:
        raise ValueError(f"Invalid hex ID of _soft_target_node_id, got {node_id}")


def _check_bundles(bundles: Any) -> None:
    if not isinstance(bundles, list):
        raise ValueError(f"Placement group bundles must be a list, got {type(bundles)}.")
    if not bundles:
        raise ValueError(
            "Bundles must be a non-empty list of resource dictionaries. "
            f"{_EXAMPLE} Got empty list instead."
        )
    for bundle in bundles:
        if not isinstance(bundle, dict) or not all(
            isinstance(name, str) and isinstance(amount, (int, float))
            for name, amount in bundle.items()
        ):
            raise ValueError(
                f"Bundles must be a non-empty list of resource dictionaries. {_EXAMPLE}"
            )
        if not any(bundle.values()):
            raise ValueError(
                "Bundles cannot be an empty dictionary or resources with only 0 values. "
                f"Bundles: {bundles}"
            )
        for name, amount in bundle.items():
            if amount < 0:
                raise ValueError(f"A bundle cannot have {amount} of {name}. Bundles: {bundles}")


def _check_selectors(bundles: list[Any], selectors: Any) -> None:
    if not isinstance(selectors, list):
        raise ValueError(
            f"Placement group bundle_label_selector must be a list, got {type(selectors)}."
        )
    if len(selectors) != len(bundles):
        raise ValueError(
            f"Invalid bundle label selector {selectors}. The length of `bundle_label_selector` "
            "should equal the length of `bundles`."
        )
    for selector in selectors:
        if not isinstance(selector, dict) or not all(
            isinstance(part, str) for pair in selector.items() for part in pair
        ):
            raise ValueError(
                "Bundle label selector must be a list of string dictionary label selectors. "
                'For example: `[{"ray.io/market-type": "spot"}, {"zone": "a"}]`.'
            )
        try:
            _labels.check_selector(selector)
        except ValueError as error:
            raise ValueError(
                "Invalid label selector provided in bundle_label_selector list. "
                f"Detailed error: '{error}'"
            ) from None


def check_placement_group_index(placement_group: PlacementGroup, bundle_index: int) -> None:
    """Raises ValueError for an index that no bundle has; -1 stands for any bundle."""
    assert placement_group is not None
    if placement_group.is_empty:
        if bundle_index != -1:
            raise ValueError("If placement group is not set, the value of bundle index must be -1.")
    elif bundle_index != -1 and not 0 <= bundle_index < placement_group.bundle_count:
        raise ValueError(
            f"placement group bundle index {bundle_index} is invalid. Valid placement group "
            f"indexes: 0-{placement_group.bundle_count}"
        )


def check_fits(
    group: PlacementGroup, resources: dict[str, float], name: str, needs_cpu: bool
) -> None:
    """Raises ValueError where a request fits into no bundle, even if all of it were free.

    ``needs_cpu``: it is an actor that holds no CPU, but asks for a place where there is one.
    """
    bundles = group.bundle_specs
    if not bundles:
        return  # It is gone, and whoever uses it hears so.

    def fits(request: dict[str, float]) -> bool:
        return any(
            all(amount <= bundle.get(resource, 0) for resource, amount in request.items())
            for bundle in bundles
        )

    if not fits(resources):
        shown = {
            resource: int(amount) if amount == int(amount) else amount
            for resource, amount in resources.items()
        }
        raise ValueError(
            f"Cannot schedule {name} with the placement group because the resource request {shown} "
            f"cannot fit into any bundles for the placement group, {bundles}."
        )
    if needs_cpu and not fits({**resources, "CPU": 1}):
        raise ValueError(
            f"Cannot schedule {name} with the placement group because the actor requires 1 CPU for "
            f"creation, but it cannot fit into any bundles for the placement group, {bundles}. "
            "Consider creating a placement group with CPU resources."
        )
