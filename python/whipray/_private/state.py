"""The actors and the nodes of the cluster, under the names by which libraries ask for them."""

from __future__ import annotations

from typing import Any

from whipray import _cluster, _session
from whipray.util.state._actors import actors as _actors
from whipray.util.state._sources import nodes as _nodes

__all__ = ["actors", "available_resources_per_node", "total_resources_per_node"]


def actors(
    actor_id: str | None = None, job_id: Any = None, actor_state_name: str | None = None
) -> dict[str, Any]:
    """What is known of one actor, by its hexadecimal id, or of all by id: those of a job (a
    :class:`~whipray.JobID`) and in a state, where these are given. Empty for an unknown id.

    Raises RaySystemError without a connection.
    """
    _session.require("actors")
    addresses = {node.node_id: node.node_ip for node in _nodes()}
    found = {
        actor.actor_id: {
            "ActorID": actor.actor_id,
            "ActorClassName": actor.class_name,
            "IsDetached": actor.is_detached,
            "Name": actor.name or "",
            "JobID": actor.job_id,
            "Address": {
                "IPAddress": addresses.get(actor.node_id or "", ""),
                "NodeID": actor.node_id or "",
            },
            "State": actor.state,
            "NumRestarts": actor.num_restarts,
            "Pid": actor.pid,
        }
        for actor in _actors()
        if (job_id is None or actor.job_id == job_id.hex())
        and actor_state_name in (None, actor.state)
    }
    return found if actor_id is None else found.get(actor_id, {})


def total_resources_per_node() -> dict[str, dict[str, float]]:
    """What each living node has, by the hexadecimal ids of nodes.

    Raises RaySystemError without a connection.
    """
    return _cluster.resources_per_node("total")


def available_resources_per_node() -> dict[str, dict[str, float]]:
    """What of it is free; what is used up is left out.

    Raises RaySystemError without a connection.
    """
    return {
        node: {name: amount for name, amount in resources.items() if amount > 0}
        for node, resources in _cluster.resources_per_node("available").items()
    }
