"""``whipray debug``: the breakpoints of a cluster, and a terminal for each."""

from __future__ import annotations

import argparse
import os
import select
import socket
import sys
from datetime import datetime, timezone
from typing import Any

import whipray
from whipray._debugger import breakpoints
from whipray._debugger.breakpoints import Breakpoint
from whipray.exceptions import NodeDiedError

_INTERRUPTED = 130
"""The status of a command that Ctrl-C ended, as shells count it."""

_PIECE_BYTES = 65536
_CONNECT_SECONDS = 10.0
_POLL_SECONDS = 0.1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whipray debug",
        description="Lists the breakpoints at which tasks and actors wait, and attaches to them. "
        "They wait where RAY_DEBUG=legacy is in their environment.",
    )
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="another cluster than the one that was started on this machine",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show ids")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """List and attach, until the input or the user ends it; the exit code."""
    given = _parser().parse_args(arguments)
    try:
        whipray.init(address=given.address or "auto", log_to_driver=False)
    except (ConnectionError, RuntimeError) as error:
        print(f"whipray: {error}", file=sys.stderr)
        return 1
    if os.environ.get("RAY_DEBUG", "1") != "legacy":
        print("Breakpoints are listed here of tasks and actors with RAY_DEBUG=legacy.")
    try:
        while True:
            found = breakpoints.active()
            _show(list(found.values()), given.verbose)
            chosen = _choice(list(found))
            if chosen is not None:
                _attach(chosen, found[chosen])
                _go_along(chosen)
    except EOFError:
        return 0
    except NodeDiedError as error:
        print(f"\nwhipray: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    finally:
        whipray.shutdown()


def _choice(identities: list[str]) -> str | None:
    """What the user chooses; None where the list is to be shown again. Raises EOFError."""
    print("Enter breakpoint index or press enter to refresh: ", end="", flush=True)
    line = _read_line().strip()
    if not line:
        print()
        return None
    if not line.isdecimal() or int(line) >= len(identities):
        print(f"There is no breakpoint {line}.")
        return None
    return identities[int(line)]


def _read_line() -> str:
    # Not by sys.stdin, which would take what is meant for the debugger.
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)
        if not piece:
            raise EOFError
        line += piece
    return line.decode(errors="replace")


def _show(found: list[Breakpoint], verbose: bool) -> None:
    rows = [["index", "timestamp", "Ray task", "filename:lineno"]]
    if verbose:
        rows[0] += ["Task ID", "Worker ID", "Actor ID", "Node ID"]
    for index, place in enumerate(found):
        when = datetime.fromtimestamp(place.timestamp, timezone.utc)
        row = [str(index), f"{when:%Y-%m-%d %H:%M:%S}", place.proctitle]
        row.append(f"{place.filename}:{place.lineno}")
        if verbose:
            row += [place.task_id or "", place.worker_id, place.actor_id or "", place.node_id]
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows)]
    print("Active breakpoints:")
    for index, row in enumerate(rows):
        print(" | ".join(cell.ljust(width) for cell, width in zip(row, widths)))
        if index and not found[index - 1].traceback.startswith("NoneType: None"):
            print(found[index - 1].traceback)


def _attach(identity: str, place: Breakpoint) -> None:
    host, _, port = place.pdb_address.rpartition(":")
    try:
        connection = socket.create_connection((host, int(port)), _CONNECT_SECONDS)
    except OSError as error:
        print(f"The process does not wait there any more: {error}.")
        breakpoints.withdraw(identity)
        return
    with connection:
        connection.settimeout(None)
        connection.sendall(f"{place.secret}\n".encode())
        connect_terminal(connection)


def _go_along(identity: str) -> None:
    """Attach to the processes that the debugger is led to, until a session is the last one.

    Raises EOFError where the input ends first.
    """
    while (awaited := breakpoints.awaited_at(identity)) is not None:
        print(f"Waiting for {awaited} (press enter for the list)...", flush=True)
        place = _arrival(identity)
        if place is None:
            return
        print(f"Going on in {place.proctitle}", flush=True)
        _attach(identity, place)


def _arrival(identity: str) -> Breakpoint | None:
    """The breakpoint that was announced; None when nobody will come, or the user gives up."""
    while True:
        # Before the announcement: that goes away when somebody has attached.
        place = breakpoints.find(identity)
        if place is not None:
            return place
        if breakpoints.awaited_at(identity) is None:
            print("Nobody has come.")
            return None
        if select.select([0], [], [], _POLL_SECONDS)[0]:
            _read_line()
            return None


def connect_terminal(connection: socket.socket) -> None:
    """Pass on what is typed and what the debugger says, until the debugger ends the session.

    Raises EOFError where the input ends first.
    """
    sources: list[Any] = [0, connection]
    while True:
        readable, _, _ = select.select(sources, [], [])
        if connection in readable:
            try:
                data = connection.recv(_PIECE_BYTES)
            except ConnectionError:
                return
            if not data:
                return
            sys.stdout.write(data.decode(errors="replace"))
            sys.stdout.flush()
        elif 0 in readable:
            try:
                connection.sendall(_read_line().encode())
            except ConnectionError:
                return


if __name__ == "__main__":
    sys.exit(main())
