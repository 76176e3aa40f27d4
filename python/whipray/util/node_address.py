"""The address of this machine."""

from __future__ import annotations

import os
import socket

from whipray import _session

__all__ = ["get_node_instance_id", "get_node_ip_address"]


def get_node_instance_id() -> str:
    """What the cloud calls this machine (``RAY_CLOUD_INSTANCE_ID``); empty where nobody said so."""
    return os.environ.get("RAY_CLOUD_INSTANCE_ID", "")


def get_node_ip_address(address: str | None = None) -> str:
    """The address with which this machine takes part in the cluster.

    Before ``init``: the one from which it would reach ``address`` (``host:port``), or the internet;
    nothing is sent.
    """
    if _session.current.role and address is None:
        return str(_session.current.info["node_ip"])
    host, _, port = (address or "8.8.8.8:53").rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, int(port)))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"  # No network.
