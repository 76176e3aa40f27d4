"""What the cluster consists of: nodes and resources."""

from __future__ import annotations

from typing import Any

from whipray import _core, _session


def _nodes() -> list[dict[str, Any]]:
    _session.require("state API")
    nodes: list[dict[str, Any]] = _core.status()["nodes"]
    return nodes


def nodes() -> list[dict[str, Any]]:
    """All nodes of the cluster, dead ones included, as dictionaries; these have no resources.

    Raises RaySystemError before ``init``.
    """
    return [
        {
            "NodeID": node["node_id"],
            "Alive": node["alive"],
            "NodeManagerAddress": node["ip"],
            "NodeManagerHostname": node["hostname"],
            "NodeManagerPort": _port(node),
            "ObjectManagerPort": _port(node),
            "ObjectStoreSocketName": node["endpoint"],
            "RayletSocketName": node["endpoint"],
            "MetricsExportPort": node["metrics_port"],
            "MetricsAgentPort": 0,
            "DashboardAgentListenPort": 0,
            "RuntimeEnvAgentPort": 0,
            "NodeName": node["ip"],
            "DeathReason": node["end"],
            "DeathReasonMessage": node["death"],
            "alive": node["alive"],
            "Resources": _with_node_names(node, node["total"]) if node["alive"] else {},
            "Labels": {"ray.io/node-id": node["node_id"], **node["labels"]},
        }
        for node in _nodes()
    ]


def _port(node: dict[str, Any]) -> int:
    """The TCP port of a node; zero for one that listens on this machine's sockets alone."""
    endpoint = str(node["node_endpoint"])
    return int(endpoint.rpartition(":")[2]) if endpoint.startswith("tcp:") else 0


def cluster_resources() -> dict[str, float]:
    """Names and total amounts of the resources of all live nodes; memory is in bytes.

    What the bundles of placement groups have reserved is in it under names of their own, too.

    Raises RaySystemError before ``init``.
    """
    total = _sum("total")
    for group in _core.list_groups(None, "", ""):
        if group["state"] == "CREATED":
            for index, amounts in enumerate(group["bundles"]):
                reserved = {**amounts, "bundle": _BUNDLE_UNITS}
                _add(total, _named_as_in_ray(group["id"].hex(), index, reserved))
    return total


def available_resources() -> dict[str, float]:
    """Names and amounts of what is free now; what is used up is left out. Memory is in bytes.

    Raises RaySystemError before ``init``.
    """
    free = _sum("available")
    for node in _nodes():
        for bundle in node["bundles"]:
            users = _BUNDLE_UNITS - bundle["users"] / 1000
            amounts = {**bundle["available"], "bundle": users}
            _add(free, _named_as_in_ray(bundle["group"], bundle["index"], amounts))
    return {name: amount for name, amount in free.items() if amount > 0}


_BUNDLE_UNITS = 1000.0
"""What Ray shows for each bundle, of which every user takes a thousandth of one."""


def _named_as_in_ray(group: str, index: int, amounts: dict[str, float]) -> dict[str, float]:
    """Amounts of a bundle of a placement group under both of Ray's names: of all, and its own."""
    places = (f"group_{group}", f"group_{index}_{group}")
    return {f"{name}_{place}": amount for name, amount in amounts.items() for place in places}


def _add(total: dict[str, float], amounts: dict[str, float]) -> None:
    for name, amount in amounts.items():
        total[name] = total.get(name, 0.0) + amount


def _sum(which: str) -> dict[str, float]:
    total: dict[str, float] = {}
    for resources in resources_per_node(which).values():
        _add(total, resources)
    return total


def resources_per_node(which: str) -> dict[str, dict[str, float]]:
    """What each living node has (``"total"``) or has free (``"available"``), by id.

    Raises RaySystemError before ``init``.
    """
    nodes = [node for node in _nodes() if node["alive"]]
    amounts = {node["node_id"]: _with_node_names(node, node[which]) for node in nodes}
    if which == "available":
        for node in nodes:
            _take_objects(amounts[node["node_id"]], node["store_used_bytes"])
    return amounts


def _take_objects(free: dict[str, float], used_bytes: int) -> None:
    """What objects take of the memory for them is not free, though nobody asked for it."""
    name = "object_store_memory"
    if name in free:
        free[name] = max(free[name] - used_bytes, 0.0)


def _with_node_names(node: dict[str, Any], resources: dict[str, float]) -> dict[str, float]:
    named = {name: float(amount) for name, amount in resources.items()}
    named.setdefault(f"node:{node['ip']}", 1.0)
    if node["is_head"]:
        named.setdefault("node:__internal_head__", 1.0)
    return named


def get_gpu_ids() -> list[int] | list[str]:
    """The GPUs that the current task or actor was given; empty in a driver.

    Their indexes; the names of ``CUDA_VISIBLE_DEVICES`` where the node was started with some.
    """
    from whipray import _gpus

    _session.ensure()
    return _gpus.names_of(list(_core.context()["gpu_ids"]))
