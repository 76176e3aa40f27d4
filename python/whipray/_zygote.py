"""The template of the workers: a warm, single-threaded process that forks them.

Run as ``python -m whipray._zygote <descriptor>`` by the daemon, which speaks JSON lines with it
over that descriptor. A worker that is forked costs milliseconds and shares the template's pages.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
from typing import Any

_PRELOADED_LATER_SECONDS = 0.3
"""Idle time after which the template loads what only some workers need."""


class Zygote:
    """Serves one daemon until its connection ends."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""
        self._warm = False
        # A child's end must wake the loop: the signal's handler writes a byte there.
        self._awake, self._wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Fork workers and report their ends. Returns in the template when the daemon is gone."""
        self._tell({"ready": {"pid": os.getpid(), "python": "{}.{}".format(*sys.version_info)}})
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        poll.register(self._awake, select.POLLIN)
        while True:
            patience = None if self._warm else _PRELOADED_LATER_SECONDS * 1000
            ready = [descriptor for descriptor, _ in poll.poll(patience)]
            if not ready:
                self._load_more()
            if self._awake in ready:
                os.read(self._awake, 4096)
                self._report_ended()
            if self._connection.fileno() in ready and not self._read_requests():
                return

    def _load_more(self) -> None:
        self._warm = True
        import asyncio  # noqa: F401
        import traceback  # noqa: F401

        import whipray._worker_async  # noqa: F401

        gc.collect()
        gc.freeze()

    def _read_requests(self) -> bool:
        """Serve what has arrived; False at the end of the connection."""
        try:
            data = self._connection.recv(65536)
        except OSError:
            return False
        if not data:
            return False
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            if line.strip():
                self._spawn(json.loads(line)["spawn"])
        return True

    def _spawn(self, request: dict[str, Any]) -> None:
        template = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_worker(request, template)
        self._tell({"spawned": {"worker": request["worker"], "pid": pid}})

    def _become_worker(self, request: dict[str, Any], template: int) -> None:
        """In the child: be a worker; never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._connection.close()
            os.close(self._awake)
            os.close(self._wakeup)
            gc.enable()
            from whipray import _core, _worker

            _core.die_with_parent()
            if os.getppid() == template:  # It could have ended before the line above.
                code = _worker.main(request)
        except SystemExit as leaving:
            code = _worker.exit_code(leaving)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            _flush_standard_streams()
            os._exit(code)

    def _report_ended(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._tell({"exited": {"pid": pid, "status": status}})

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            pass  # The daemon is gone; the loop reads the end of the connection next.


def _be_the_first_to_go() -> None:
    """Where the kernel itself runs out of memory, it ends workers before daemon and driver."""
    try:
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write(os.environ.get("RAY_worker_oom_score_adjust", "1000"))
    except OSError:
        pass  # Not allowed here; the kernel judges by size alone.


def _flush_standard_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # The user closed it.


def main() -> None:
    """Serve on the descriptor that the command line names."""
    # ``python -m`` put the working directory first, whose modules are not this program's.
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]
    # The worker's modules are loaded once, here, so that all workers share their pages.
    from whipray import _worker, _worker_output  # noqa: F401

    _worker_output.mark_before_children()
    _be_the_first_to_go()

    # Garbage that the template leaves alone does not copy pages in its children.
    gc.collect()
    gc.disable()
    gc.freeze()
    # A group of its own already keeps the terminal's Ctrl-C away; this is for an explicit one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        connection.setblocking(True)
        Zygote(connection).serve()
    os._exit(0)


if __name__ == "__main__":
    main()
