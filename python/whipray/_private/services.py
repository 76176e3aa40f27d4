"""About this machine, under the name by which programs know it."""

from __future__ import annotations

from whipray.util.node_address import get_node_ip_address

__all__ = ["get_node_ip_address"]
