"""Where the cluster is that a driver wants, and how to be let in."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from typing import Any

_NOBODY = (
    "Could not find any running Ray instance. Please specify the one to connect to by setting "
    "`--address` flag or `RAY_ADDRESS` environment variable. `whipray start --head` starts one."
)


def temporary_folder(given: str | None) -> str:
    """The folder below which sessions are kept: given, or below ``RAY_TMPDIR``, or /tmp/whipray."""
    return given or os.path.join(os.environ.get("RAY_TMPDIR") or "/tmp", "whipray")


def find(address: str | None, temp_dir: str | None) -> dict[str, Any] | None:
    """How to reach the cluster that ``address`` means; None where a new one is to be started.

    ``address`` is None (a cluster that was started, or a new one), "auto" (one that must be there,
    if need be that of another driver), "local" (a new one), "host:port" or what ``address_info`` of
    a driver says; ``RAY_ADDRESS`` takes the place of None and "auto". The result has ``endpoint,
    token, session_directory, cluster_address``.

    Raises ConnectionError where the cluster is not there, ValueError for a malformed address.
    """
    if address in (None, "auto"):
        address = os.environ.get("RAY_ADDRESS") or address
    if address == "local":
        return None
    if address in (None, "auto"):
        found = _current(temp_dir)
        if found is None and address == "auto":
            found = _newest(temp_dir, lambda node: True, of_this_user=True)
            if found is None:
                raise ConnectionError(_NOBODY)
        return _head_of(found, temp_dir)
    found = _by_address(temp_dir, address)
    if found is None:
        raise ConnectionError(
            f"Failed to connect to Ray cluster at {address}: no node of that cluster runs on this "
            f"machine (looked below {temporary_folder(temp_dir)}). `whipray start "
            f"--address={address}` makes this machine one of its nodes."
        )
    return _head_of(found, temp_dir)


def _by_address(temp_dir: str | None, address: str) -> dict[str, Any] | None:
    if address.startswith("unix:"):
        return _newest(temp_dir, lambda node: node.get("cluster_address") == address)
    host, separator, port = address.rpartition(":")
    if address.startswith("ray://"):
        raise ConnectionError(
            f"{address} names a client server, which this version does not have: run the program "
            'on a machine of the cluster with address="auto".'
        )
    if not separator or not host or not port.isdigit():
        raise ValueError(f"Invalid address format: {address}")
    current = _current(temp_dir)
    if current is not None and _same(current, host, port):
        return current
    return _newest(temp_dir, lambda node: _same(node, host, port))


def _head_of(found: dict[str, Any] | None, temp_dir: str | None) -> dict[str, Any] | None:
    """The head of the cluster where it is on this machine, too; else what was found."""
    if found is None or _is_head(found):
        return found
    address = found.get("cluster_address")
    head = _newest(temp_dir, lambda node: node.get("cluster_address") == address and _is_head(node))
    return head or found


def _is_head(node: dict[str, Any]) -> bool:
    return node.get("cluster_address") in (node.get("tcp"), node.get("endpoint"))


def _current(temp_dir: str | None) -> dict[str, Any] | None:
    """The cluster that was started last on this machine, where it still runs.

    Where a folder of sessions is given, only one that keeps its session there.
    """
    pointer = _read_json(os.path.join(temporary_folder(None), "current_cluster"))
    if pointer is None:
        return None
    folder = str(pointer.get("session_directory"))
    if temp_dir is not None and os.path.dirname(folder) != os.path.abspath(temp_dir):
        return None
    return _of_session(folder)


def _newest(
    temp_dir: str | None,
    is_wanted: Callable[[dict[str, Any]], bool],
    of_this_user: bool = False,
) -> dict[str, Any] | None:
    """The session of this machine that began last, among those that run and are wanted.

    Whoever did not name a cluster must not end up in one that another user has laid out for them.
    """
    root = temporary_folder(temp_dir)
    try:
        names = sorted(
            (name for name in os.listdir(root) if name.startswith("session_")), reverse=True
        )
    except OSError:
        return None
    for name in names:
        folder = os.path.join(root, name)
        if of_this_user and not _is_of_this_user(folder):
            continue
        node = _read_json(os.path.join(folder, "node.json"))
        if node is not None and is_wanted(node):
            found = _of_session(folder)
            if found is not None:
                return found
    return None


def _is_of_this_user(folder: str) -> bool:
    try:
        return os.lstat(folder).st_uid == os.getuid()
    except OSError:
        return False


def _same(node: dict[str, Any], host: str, port: str) -> bool:
    names_this_machine = host in ("127.0.0.1", "localhost", "0.0.0.0", socket.gethostname())
    for known in (node.get("cluster_address"), node.get("tcp")):
        known_host, _, known_port = str(known or "").rpartition(":")
        if known_port == port and (known_host == host or names_this_machine):
            return True
    return False


def _of_session(folder: str) -> dict[str, Any] | None:
    node = _read_json(os.path.join(folder, "node.json"))
    if node is None or not _listens(str(node.get("endpoint"))):
        return None
    try:
        path = node.get("token_file") or os.path.join(folder, "token")
        with open(path, encoding="utf-8") as file:
            token = file.read().strip()
    except PermissionError:
        raise ConnectionError(
            f"the cluster of {folder} belongs to another user: its token cannot be read"
        ) from None
    except OSError:
        return None
    return {**node, "token": token, "session_directory": folder}


def _listens(endpoint: str) -> bool:
    """Whether somebody is behind an endpoint: what a killed cluster leaves in its folder is
    stale."""
    if not endpoint.startswith("unix:@"):
        return True
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect("\0" + endpoint[len("unix:@") :])
        except OSError:
            return False
    return True


def _read_json(path: str) -> dict[str, Any] | None:
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
