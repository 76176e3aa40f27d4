"""The logs of nodes: they are read on their own node, by a task that runs there."""

from __future__ import annotations

import codecs
import fnmatch
import os
import re
import time
from collections.abc import Generator, Iterator
from typing import Any

from whipray import _core, _session
from whipray.util.state import _actors, _tasks
from whipray.util.state._asking import ask, connected
from whipray.util.state.exception import RayStateApiException

_PIECE_BYTES = 1024 * 1024
_FOLLOW_SECONDS = 0.5
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_WITHOUT_END = -1


def list_logs(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    glob_filter: str | None = None,
    timeout: int = 30,
) -> dict[str, list[str]]:
    """The names of the log files of a node, by their kind: ``worker_out``, ``worker_err``,
    ``raylet`` (of the daemon) and ``internal``.

    ``glob_filter`` is a pattern for names, such as ``worker-*.out``; ``timeout`` is in seconds.
    Raises AssertionError where no node is named, RayStateApiException for one that is not there,
    GetTimeoutError where it does not answer.
    """
    assert node_id is not None or node_ip is not None, (
        "At least one of node ip and node id is required"
    )
    with connected(address):
        names = _on_node(_node(node_id, node_ip), timeout, _names)
    kinds: dict[str, list[str]] = {}
    for name in names:
        if fnmatch.fnmatchcase(name, glob_filter or "*"):
            kinds.setdefault(_kind(name), []).append(name)
    return kinds


def get_log(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    filename: str | None = None,
    actor_id: str | None = None,
    task_id: str | None = None,
    pid: int | None = None,
    follow: bool = False,
    tail: int = -1,
    timeout: int = 30,
    suffix: str = "out",
    encoding: str | None = "utf-8",
    errors: str | None = "strict",
    submission_id: str | None = None,
    attempt_number: int = 0,
    _interval: float | None = None,
    filter_ansi_code: bool = False,
) -> Generator[Any, None, None]:
    """What a file has, piece by piece: one of a node by its name, or that of the process of an
    actor, of an attempt of a task or with a process id; ``suffix`` chooses ``out`` or ``err``.

    ``tail`` lines from the end, -1 for all. With ``follow`` it goes on as the file grows, looking
    every ``_interval`` seconds (0.5), until the process that asks is disconnected or stops asking.
    With ``encoding=None`` pieces are bytes. ``timeout`` is in seconds, for each piece.

    Raises ValueError where it is not clear what is wanted, RayStateApiException for something that
    is not there.
    """
    if submission_id is not None:
        raise ValueError("Jobs that are submitted have no logs here: there is no job server.")
    if suffix not in ("out", "err"):
        raise ValueError(f"suffix is 'out' or 'err', not {suffix!r}.")
    if not any((filename, actor_id, task_id, pid)):
        raise ValueError("One of filename, actor_id, task_id and pid says which log is wanted.")
    with connected(address):
        task = (task_id, attempt_number) if task_id else None
        node, name = _file(node_id, node_ip, filename, actor_id, task, pid, suffix)
        pieces = _pieces(node, name, tail, timeout, _interval if follow else None, follow)
        if encoding is None:
            yield from pieces
            return
        for text in codecs.iterdecode(pieces, encoding, errors or "strict"):
            yield _COLOURS.sub("", text) if filter_ansi_code else text


def _file(
    node_id: str | None,
    node_ip: str | None,
    filename: str | None,
    actor_id: str | None,
    attempt: tuple[str, int] | None,
    pid: int | None,
    suffix: str,
) -> tuple[str, str]:
    """The node of a file, and its name."""
    if filename:
        return _node(node_id, node_ip), filename
    if actor_id:
        actor = _found(_actors.actors(), f"actor_id {actor_id}", actor_id=actor_id)
        node, wanted = actor.node_id, f"worker-*-{actor.pid}.{suffix}"
    elif attempt:
        task_id, number = attempt
        told = f"attempt {number} of task_id {task_id}"
        rows = ask(_tasks.tasks, None, False)
        task = _found(rows, told, task_id=task_id, attempt_number=number)
        node, wanted = task.node_id, f"worker-{task.worker_id}-*.{suffix}"
    else:
        node, wanted = _node(node_id, node_ip), f"worker-*-{pid}.{suffix}"
    if node is None:
        raise RayStateApiException("It has not run yet: there is no log of it.")
    names = fnmatch.filter(_on_node(node, 30, _names), wanted)
    if not names:
        raise RayStateApiException(f"Node {node} has no log file {wanted}.")
    return node, names[-1]


def _found(rows: list[Any], told: str, **wanted: Any) -> Any:
    for row in rows:
        if all(row[column] == value for column, value in wanted.items()):
            return row
    raise RayStateApiException(f"There is no {told}.")


def _node(node_id: str | None, node_ip: str | None) -> str:
    """The living node of this id or address; of this process where neither is given."""
    if node_id is None and node_ip is None:
        return str(_core.context()["node_id"].hex())
    for node in _core.status()["nodes"]:
        if node["alive"] and (node_id or node["node_id"]) == node["node_id"]:
            if node_ip is None or node["ip"] == node_ip:
                return str(node["node_id"])
    raise RayStateApiException(f"There is no living node {node_id or node_ip}.")


def _kind(name: str) -> str:
    if name.startswith("worker-"):
        return f"worker_{name.rpartition('.')[2]}"
    return "raylet" if name.startswith("daemon") else "internal"


# ---- on the node ---------------------------------------------------------------------------------


def _on_node(node: str, timeout: float, function: Any, *arguments: Any) -> Any:
    from whipray import get, remote
    from whipray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    place = NodeAffinitySchedulingStrategy(node, soft=False)
    task = remote(function).options(num_cpus=0, scheduling_strategy=place, max_retries=0)
    return get(task.remote(*arguments), timeout=timeout)


def _folder() -> str:
    return os.path.join(_session.current.info["session_directory"], "logs")


def _names() -> list[str]:
    return sorted(os.listdir(_folder()))


def _read(name: str, offset: int, tail: int) -> tuple[bytes, int] | None:
    """A piece of a file from ``offset`` on, and where the next one begins; None without the file.

    With a ``tail`` of lines the offset is ignored.
    """
    folder = os.path.realpath(_folder())
    path = os.path.realpath(os.path.join(folder, name))
    if os.path.commonpath([folder, path]) != folder or not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        if tail != _WITHOUT_END:
            offset = _offset_of_tail(file, tail)
        file.seek(offset)
        piece = file.read(_PIECE_BYTES)
    return piece, offset + len(piece)


def _offset_of_tail(file: Any, lines: int) -> int:
    """Where the last lines of a file begin."""
    end = file.seek(0, os.SEEK_END)
    found = b""
    position = end
    # An end of line at the end of the file begins no line.
    while position > 0 and found[:-1].count(b"\n") < lines:
        size = min(_PIECE_BYTES, position)
        position -= size
        file.seek(position)
        found = file.read(size) + found
    wanted = found.splitlines(keepends=True)[-lines:] if lines > 0 else []
    return int(end - sum(map(len, wanted)))


def _pieces(
    node: str, name: str, tail: int, timeout: float, interval: float | None, follow: bool
) -> Iterator[bytes]:
    offset = 0
    while _session.current.role:
        read = _on_node(node, timeout, _read, name, offset, tail)
        if read is None:
            raise RayStateApiException(f"Node {node} has no log file {name}.")
        piece, offset = read
        tail = _WITHOUT_END
        if piece:
            yield piece
        elif follow:
            time.sleep(interval or _FOLLOW_SECONDS)
        else:
            return
