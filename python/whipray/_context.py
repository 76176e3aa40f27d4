"""What :func:`whipray.init` returns."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

RAY_VERSION = "2.60.0"
"""The version of Ray whose API this is."""
RAY_COMMIT = "b7f4259e944bf6959f721b106adc366ddfa0c356"
"""The commit of that version."""


class RayContext(Mapping[str, Any]):
    """Where this process is connected to; leaving it as a context manager ends the connection.

    ``address_info`` has the addresses and folders by name. Reading them from the object itself
    (``context["address"]``) works and is deprecated.
    """

    def __init__(self, address_info: dict[str, Any]) -> None:
        self.address_info = address_info
        self.dashboard_url: str = address_info.get("webui_url") or ""
        self.python_version = "{}.{}.{}".format(*sys.version_info)
        self.ray_version = RAY_VERSION
        self.ray_commit = RAY_COMMIT

    def __getitem__(self, key: str) -> Any:
        if key in self.address_info:
            import warnings

            warnings.warn(
                f'Accessing values through ctx["{key}"] is deprecated. '
                f'Use ctx.address_info["{key}"] instead.',
                DeprecationWarning,
                stacklevel=2,
            )
        return self.address_info[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.address_info)

    def __len__(self) -> int:
        return len(self.address_info)

    def __enter__(self) -> RayContext:
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()

    def __repr__(self) -> str:
        return (
            f"RayContext(dashboard_url={self.dashboard_url!r}, "
            f"python_version={self.python_version!r}, ray_version={self.ray_version!r}, "
            f"ray_commit={self.ray_commit!r})"
        )

    def disconnect(self) -> None:
        """End the connection, and the cluster where it was started by ``init``."""
        from whipray._init import shutdown

        shutdown()


def address_info(info: dict[str, Any]) -> dict[str, Any]:
    """Ray's names for what the connection of this process tells."""
    return {
        "node_ip_address": info["node_ip"],
        "redis_address": None,
        "object_store_address": info["endpoint"],
        "raylet_socket_name": info["endpoint"],
        "webui_url": "",
        "session_dir": info["session_directory"],
        "metrics_export_port": None,
        "gcs_address": info["cluster_address"],
        "address": info["cluster_address"],
        "dashboard_agent_listen_port": None,
        "node_id": info["node_id"].hex(),
    }
