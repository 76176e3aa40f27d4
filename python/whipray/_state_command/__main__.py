"""Reads the command line, asks the cluster, and prints the answer as ``ray`` does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from whipray._state_command import logs, output
from whipray.exceptions import GetTimeoutError
from whipray.util.state import api
from whipray.util.state.common import DEFAULT_LIMIT, DEFAULT_RPC_TIMEOUT, StateSchema
from whipray.util.state.exception import RayStateApiException

_LISTS: dict[str, Callable[..., Sequence[StateSchema]]] = {
    "actors": api.list_actors,
    "jobs": api.list_jobs,
    "nodes": api.list_nodes,
    "objects": api.list_objects,
    "placement-groups": api.list_placement_groups,
    "runtime-envs": api.list_runtime_envs,
    "tasks": api.list_tasks,
    "workers": api.list_workers,
}
_GETS: dict[str, Callable[..., Any]] = {
    "actors": api.get_actor,
    "nodes": api.get_node,
    "objects": api.get_objects,
    "placement-groups": api.get_placement_group,
    "tasks": api.get_task,
    "workers": api.get_worker,
}
_SUMMARIES: dict[str, Callable[..., dict[str, Any]]] = {
    "actors": api.summarize_actors,
    "objects": api.summarize_objects,
    "tasks": api.summarize_tasks,
}


def main(words: Sequence[str]) -> int:
    """Do what the words say; the exit code."""
    arguments = _parser().parse_args(_completed(list(words)))
    try:
        told = arguments.run(arguments)
    except (ConnectionError, GetTimeoutError, RayStateApiException, ValueError) as error:
        return _fail(str(error))
    if told:
        print(told)
    return 0


def _completed(words: list[str]) -> list[str]:
    """Without a kind of logs those of the cluster are meant; without a word help is."""
    if words == ["logs"]:
        words.append("--help")
    elif words[:1] == ["logs"] and words[1:] and words[1] not in (*logs.KINDS, "-h", "--help"):
        words.insert(1, "cluster")
    return words


def _fail(text: str) -> int:
    print(f"whipray: {text}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="whipray")
    verbs = parser.add_subparsers(required=True)

    listing = verbs.add_parser("list", help="list the things of one kind")
    listing.add_argument("resource", choices=_LISTS, type=_resource)
    forms = ("default", "json", "yaml", "table")
    listing.add_argument("--format", choices=forms, default="default")
    listing.add_argument(
        "-f",
        "--filter",
        action="append",
        default=[],
        type=_filter,
        metavar="COLUMN=VALUE",
        help="only those that have, or with != do not have, this value; may be given again",
    )
    listing.add_argument("--limit", type=int, default=DEFAULT_LIMIT, help="the most that are shown")
    listing.add_argument("--detail", action="store_true", help="all columns")
    listing.set_defaults(run=_list)

    getting = verbs.add_parser("get", help="show one thing, with all that is known of it")
    getting.add_argument("resource", choices=_GETS, type=_resource)
    getting.add_argument("id", help="in hexadecimal")
    getting.set_defaults(run=_get)

    summing = verbs.add_parser("summary", help="count the things of one kind")
    summing.add_argument("resource", choices=_SUMMARIES, type=_resource)
    summing.set_defaults(run=_summary)

    logs.add_arguments(verbs)

    for each in (listing, getting, summing):
        each.add_argument(
            "--address", help="of the cluster; the one that was started on this machine otherwise"
        )
        each.add_argument(
            "--timeout", type=int, default=DEFAULT_RPC_TIMEOUT, help=argparse.SUPPRESS
        )
    return parser


def _resource(text: str) -> str:
    return text.replace("_", "-")


def _filter(text: str) -> tuple[str, str, str]:
    column, separator, value = text.partition("=")
    if not separator or not column.strip("! "):
        raise argparse.ArgumentTypeError(f"{text!r} is not COLUMN=VALUE or COLUMN!=VALUE")
    predicate = "!=" if column.endswith("!") else "="
    return column.removesuffix("!").strip(), predicate, value.strip()


def _list(arguments: argparse.Namespace) -> str:
    rows = _LISTS[arguments.resource](
        address=arguments.address,
        filters=arguments.filter,
        limit=arguments.limit,
        detail=arguments.detail,
    )
    if len(rows) == arguments.limit:
        print(f"whipray: the first {arguments.limit}; --limit shows more", file=sys.stderr)
    form = arguments.format
    if form == "default":
        form = "yaml" if arguments.detail else "table"
    if form == "json":
        return output.as_json([row.asdict() for row in rows])
    if not rows:
        return "No resource in the cluster"
    if form == "yaml":
        return output.as_yaml([row.asdict() for row in rows])
    return output.as_list([_shown(row, arguments.detail) for row in rows])


def _shown(row: StateSchema, detail: bool) -> dict[str, Any]:
    hidden = set() if detail else type(row).detail_columns()
    return {column: value for column, value in row.asdict().items() if column not in hidden}


def _get(arguments: argparse.Namespace) -> str:
    found = _GETS[arguments.resource](arguments.id, address=arguments.address)
    if not found:
        return f"Resource with id={arguments.id} not found in the cluster."
    rows = found if isinstance(found, list) else [found]
    return output.as_yaml([row.asdict() for row in rows])


def _summary(arguments: argparse.Namespace) -> str:
    summary = _SUMMARIES[arguments.resource](address=arguments.address)["cluster"]
    return output.as_summary(arguments.resource, summary)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
