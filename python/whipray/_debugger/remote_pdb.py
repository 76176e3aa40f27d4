"""The debugger of the standard library for one client, over a connection on this machine."""

from __future__ import annotations

import hmac
import os
import secrets
import socket
import sys
from pdb import Pdb
from types import FrameType, TracebackType
from typing import Any

from whipray._debugger import breakpoints

_SECRET_SECONDS = 5.0
"""How long a client may take to say the secret."""

_LONGEST_SECRET_BYTES = 256

_ENGINE_MODULES = ("whipray.*", "asyncio.*")
"""What lies around the user's code: the debugger does not stop there."""


class RemotePdb(Pdb):
    """Debugs the thread that makes it, by the commands of whoever attaches.

    ``continue`` ends the session, and so does a connection that breaks: the program goes on.
    ``quit`` raises ``bdb.BdbQuit`` in the program.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        # Two streams: one for both directions forgets what it has read ahead when it writes.
        self._input = connection.makefile("r", encoding="utf-8", errors="replace", newline="\n")
        self._output = connection.makefile("w", encoding="utf-8", errors="replace", newline="\n")
        super().__init__(
            completekey="tab",
            stdin=self._input,
            stdout=self._output,
            skip=list(_ENGINE_MODULES),
            # Files of the user's own settings are for terminals.
            readrc=False,
        )
        self.use_rawinput = False

    def do_continue(self, arg: str) -> Any:
        """continue

        Let the program run on, without the debugger.
        """
        # Nobody would be there to be told of the next stop.
        self.clear_all_breaks()
        result = super().do_continue(arg)
        self.close()
        return result

    do_c = do_cont = do_continue

    def do_EOF(self, arg: str) -> Any:
        """The client went away: the program goes on."""
        return self.do_continue(arg)

    def do_quit(self, arg: str) -> Any:
        """quit

        Raise BdbQuit in the program.
        """
        result = super().do_quit(arg)
        self.close()
        return result

    do_q = do_exit = do_quit

    def user_return(self, frame: FrameType, return_value: Any) -> None:
        """Stop where a function returns; the return of the user's outermost one is the end."""
        super().user_return(frame, return_value)
        caller = frame.f_back
        if caller is None or self.is_skipped_module(caller.f_globals.get("__name__", "")):
            # Stepping on would lead into the next task of this process.
            self.clear_all_breaks()
            self.set_continue()
            self.close()

    def interaction(self, frame: FrameType | None, traceback: Any) -> None:
        """Take commands until one lets the program run."""
        try:
            super().interaction(frame, traceback)
        except (OSError, ValueError):
            # The client is gone, or has been sent away by a command.
            self.clear_all_breaks()
            if frame is not None:
                self.set_continue()
            self.close()

    def close(self) -> None:
        """Send the client away."""
        for closable in (self._output, self._input, self._connection):
            try:
                closable.close()
            except OSError:
                pass  # What was to be written last has no reader any more.


def attached(
    identity: str | None, frame: FrameType, exception: BaseException | None = None
) -> RemotePdb:
    """Wait for somebody to attach, however long that takes.

    The place is listed as a breakpoint at ``frame`` meanwhile, under ``identity`` or a new name.
    The socket listens on the loopback interface alone.
    """
    identity = identity or secrets.token_hex(16)
    secret = secrets.token_hex(32)
    with socket.create_server(("127.0.0.1", 0), backlog=1) as server:
        address = f"localhost:{server.getsockname()[1]}"
        place = breakpoints.Breakpoint.here(address, secret, frame, exception)
        place.publish(identity)
        try:
            if not os.environ.get("REMOTE_PDB_QUIET"):
                print(
                    f"RemotePdb session open at {address}, use 'ray debug' to connect...",
                    file=sys.__stderr__,
                    flush=True,
                )
            connection = None
            while connection is None:
                connection = _let_in(server.accept()[0], secret.encode())
        finally:
            breakpoints.withdraw(identity)
    return RemotePdb(connection)


def _let_in(connection: socket.socket, secret: bytes) -> socket.socket | None:
    """The connection, where the first line is the secret; None, and it is closed, otherwise."""
    connection.settimeout(_SECRET_SECONDS)
    line = b""
    try:
        # Byte by byte: what follows the line is for the debugger.
        while not line.endswith(b"\n") and len(line) <= _LONGEST_SECRET_BYTES:
            piece = connection.recv(1)
            if not piece:
                break
            line += piece
        known = hmac.compare_digest(line.strip(), secret)
    except OSError:
        known = False
    if not known:
        connection.close()
        return None
    connection.settimeout(None)
    return connection


def post_mortem(debugger: RemotePdb, traceback: TracebackType) -> None:
    """Let the client look at the frames of an exception, until a command ends that."""
    debugger.reset()
    debugger.interaction(None, traceback)
    debugger.close()
