"""``whipray logs``: the log files of nodes, actors, tasks and workers."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from whipray import _core
from whipray._state_command import output
from whipray.util.state import get_log, list_logs
from whipray.util.state._asking import connected

KINDS = ("cluster", "actor", "task", "worker")

_LINES = 1000
"""How many are shown where nothing else is said."""


def add_arguments(verbs: Any) -> None:
    """Add the verb to the others."""
    parser = verbs.add_parser("logs", help="show the logs of nodes, actors, tasks and workers")
    kinds = parser.add_subparsers(required=True)
    cluster = kinds.add_parser("cluster", help="list the files of a node, or show one of them")
    cluster.add_argument("glob_filter", nargs="?", default="*", metavar="GLOB")
    cluster.add_argument("--encoding", default="utf-8")
    cluster.add_argument("--encoding-errors", default="replace")
    cluster.set_defaults(run=_cluster)
    actor = kinds.add_parser("actor", help="what the process of an actor writes")
    actor.add_argument("-a", "--id", help="of the actor, in hexadecimal")
    actor.add_argument("-pid", "--pid", type=int, help="of its process")
    task = kinds.add_parser("task", help="what the process writes that ran a task")
    task.add_argument("--id", required=True, help="of the task, in hexadecimal")
    task.add_argument("-a", "--attempt-number", type=int, default=0, help="which of its tries (0)")
    worker = kinds.add_parser("worker", help="what a process writes")
    worker.add_argument("-pid", "--pid", type=int, required=True)
    actor.set_defaults(run=_process, chosen="actor_id")
    task.set_defaults(run=_process, chosen="task_id")
    worker.set_defaults(run=_process, chosen="pid")
    for each in (cluster, actor, task, worker):
        each.add_argument("--address", help="of the cluster; the one of this machine otherwise")
        each.add_argument("-f", "--follow", action="store_true", help="go on as the file grows")
        each.add_argument(
            "--tail", type=int, default=_LINES, help="lines from the end, -1 for all (1000)"
        )
        each.add_argument("--timeout", type=int, default=30, help="seconds for each question")
    for each in (actor, task, worker):
        each.add_argument("--err", action="store_true", help="standard error instead of output")
    for each in (cluster, actor, worker):
        each.add_argument("-id", "--node-id", help="the node, in hexadecimal; the head otherwise")
        each.add_argument("-ip", "--node-ip", help="the node, by its address")


def _cluster(arguments: argparse.Namespace) -> str:
    with connected(arguments.address):
        node = _node_of(arguments)
        kinds = list_logs(**node, glob_filter=arguments.glob_filter, timeout=arguments.timeout)
        names = [name for found in kinds.values() for name in found]
        if len(names) != 1:
            return output.as_yaml(kinds) if names else "No log file has such a name."
        return _show(
            arguments,
            **node,
            filename=names[0],
            encoding=arguments.encoding,
            errors=arguments.encoding_errors,
        )


def _process(arguments: argparse.Namespace) -> str:
    chosen: dict[str, Any] = {"pid": getattr(arguments, "pid", None)}
    if arguments.chosen != "pid":
        chosen[arguments.chosen] = arguments.id
    if arguments.chosen == "task_id":
        chosen["attempt_number"] = arguments.attempt_number
    suffix = "err" if arguments.err else "out"
    with connected(arguments.address):
        node = {} if arguments.chosen == "task_id" else _node_of(arguments)
        return _show(arguments, **node, **chosen, suffix=suffix, errors="replace")


def _node_of(arguments: argparse.Namespace) -> dict[str, str | None]:
    """The node that is meant: the head where none is named."""
    node_id, node_ip = arguments.node_id, arguments.node_ip
    if node_id is None and node_ip is None:
        node_id = next(node["node_id"] for node in _core.status()["nodes"] if node["is_head"])
    return {"node_id": node_id, "node_ip": node_ip}


def _show(arguments: argparse.Namespace, **chosen: Any) -> str:
    """Writes the log as it comes; there is nothing to say after it."""
    pieces = get_log(
        **chosen, tail=arguments.tail, follow=arguments.follow, timeout=arguments.timeout
    )
    try:
        for piece in pieces:
            sys.stdout.write(piece)
            sys.stdout.flush()
    except KeyboardInterrupt:
        pass
    return ""
