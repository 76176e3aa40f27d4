"""The debugger of the standard library for one client, over a connection on this machine."""

from __future__ import annotations

import hmac
import os
import secrets
import socket
import sys
import threading
from pdb import Pdb
from types import FrameType, TracebackType
from typing import Any

from whipray._debugger import breakpoints

_SECRET_SECONDS = 5.0
"""How long a client may take to say the secret."""

_LONGEST_SECRET_BYTES = 256

_ENGINE_MODULES = ("whipray.*", "asyncio.*")
"""What lies around the user's code: the debugger does not stop there."""


_of_thread = threading.local()
"""``session``: the one that is open in this thread."""


class RemotePdb(Pdb):
    """Debugs the thread that makes it, by the commands of whoever attaches.

    ``continue`` ends the session, and so does a connection that breaks: the program goes on.
    ``quit`` raises ``bdb.BdbQuit`` in the program. ``remote`` and ``get`` end the session as well,
    and another one begins under the same identity, in another process.
    """

    def __init__(self, connection: socket.socket, identity: str) -> None:
        self._connection = connection
        self._identity = identity
        self._is_after_death = False
        _of_thread.session = self
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

    def do_remote(self, arg: str) -> Any:
        """remote

        Let the program run on, and go into the next task that it calls: its function stops at its
        first line.
        """
        if self._is_after_death:
            self.error("the program is at its end: nothing is called any more")
            return None
        from whipray._debugger import following

        following.follow_next_call(self._identity)
        return self.do_continue(arg)

    def do_get(self, arg: str) -> Any:
        """get

        Let the task run to its end, and go to where its result is got.
        """
        from whipray._debugger import returning

        if self._is_after_death:
            self.error("the task has failed: there is no result to get")
            return None
        if not returning.stop_where_result_is_got(self._identity):
            self.error("this is no task: nobody gets its result")
            return None
        return self.do_continue(arg)

    def follow(self) -> None:
        """Stop at the first line that this thread comes to, after the function that calls this."""
        self.reset()
        sys.settrace(self.trace_dispatch)

    def leave(self) -> None:
        """The function that was followed is through, with its debugger or without."""
        sys.settrace(None)
        self.close()

    def after_death(self, traceback: TracebackType) -> None:
        """Let the client look at the frames of an exception, until a command ends that."""
        self._is_after_death = True
        self.reset()
        self.interaction(None, traceback)
        self.close()

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
        _of_thread.session = None
        for closable in (self._output, self._input, self._connection):
            try:
                closable.close()
            except OSError:
                pass  # What was to be written last has no reader any more.


def session_of_thread() -> RemotePdb | None:
    """The debugger that somebody has attached to this thread."""
    return getattr(_of_thread, "session", None)


def attached(
    identity: str | None, place: tuple[str, int], exception: BaseException | None = None
) -> RemotePdb:
    """Wait for somebody to attach, however long that takes.

    A breakpoint is listed meanwhile at ``place``, a file and a line, under ``identity`` or a new
    name.
    The socket listens on the loopback interface alone.
    """
    identity = identity or secrets.token_hex(16)
    secret = secrets.token_hex(32)
    with socket.create_server(("127.0.0.1", 0), backlog=1) as server:
        address = f"localhost:{server.getsockname()[1]}"
        breakpoints.Breakpoint.here(address, secret, place, exception).publish(identity)
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
            breakpoints.withdraw_announcement(identity)
    return RemotePdb(connection, identity)


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
