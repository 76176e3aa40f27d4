"""The daemon that belongs to one driver: started with it, ended with it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

START_SECONDS = 60.0
"""How long a daemon may take until it says where it can be reached."""

END_SECONDS = 20.0
"""How long a daemon may take to end before it is killed. Until then it removes what it spilled to
buckets, for which it takes half of this at most."""

_LAST_WORDS_BYTES = 2000


def binary() -> str:
    """The path of the native program.

    Raises FileNotFoundError where this installation has none.
    """
    given = os.environ.get("WHIPRAY_BINARY")
    path = given or os.path.join(os.path.dirname(os.path.abspath(__file__)), "_bin", "whipray")
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"the native program of whipray is not at {path}: install the wheel, or name the "
            "program with the environment variable WHIPRAY_BINARY"
        )
    return path


class Daemon:
    """A child process that ends when the lifeline, a pipe that this process holds, closes."""

    def __init__(self, options: dict[str, Any], variables: dict[str, str] | None = None) -> None:
        """Start the program with the options of its ``daemon`` verb; :meth:`answer` waits for
        it. ``variables`` are added to its environment."""
        program = binary()
        self._status: int | None = None
        lifeline, self._lifeline = os.pipe()
        self._ready, ready = os.pipe()
        # Nothing but a crash is written there; a file in memory leaves nothing behind.
        self._last_words = os.memfd_create("whipray-daemon-stderr", os.MFD_CLOEXEC)
        first, second = _free_descriptors(lifeline, ready, self._last_words)
        null = os.devnull
        try:
            self.pid = os.posix_spawn(
                program,
                [
                    program,
                    "daemon",
                    f"--lifeline-fd={first}",
                    f"--ready-fd={second}",
                    f"--options-json={json.dumps(options)}",
                ],
                {**_environment(), **(variables or {})},
                file_actions=[
                    # The standard descriptors come last: where the driver closed its own, the
                    # descriptors made above have their numbers.
                    (os.POSIX_SPAWN_DUP2, lifeline, first),
                    (os.POSIX_SPAWN_DUP2, ready, second),
                    (os.POSIX_SPAWN_DUP2, self._last_words, 2),
                    (os.POSIX_SPAWN_OPEN, 0, null, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, null, os.O_WRONLY, 0),
                ],
                # Ctrl-C in a terminal goes to the driver alone, which then ends the daemon in
                # order.
                setpgroup=0,
                setsigmask=[],
                setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE],
            )
        except BaseException:
            for descriptor in (self._lifeline, self._ready, self._last_words):
                os.close(descriptor)
            raise
        finally:
            os.close(lifeline)
            os.close(ready)

    def answer(self) -> dict[str, Any]:
        """Wait until the daemon is ready; where and how it can be reached.

        Raises RuntimeError with the daemon's own line, or its last words, where it did not start.
        """
        import select

        poll = select.poll()
        poll.register(self._ready, select.POLLIN)
        deadline = time.monotonic() + START_SECONDS
        data = b""
        while not data.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise RuntimeError(f"the daemon did not start within {START_SECONDS:.0f} s")
            piece = os.read(self._ready, 65536)
            if not piece:
                break
            data += piece
        os.close(self._ready)
        self._ready = -1
        if not data.endswith(b"\n"):
            raise RuntimeError(f"the daemon ended before it was ready{self._ending()}")
        reply: dict[str, Any] = json.loads(data)
        if "error" in reply:
            raise RuntimeError(str(reply["error"]))
        return reply

    def _ending(self) -> str:
        status = self.wait(END_SECONDS)
        text = "" if status is None else f" ({_describe_status(status)})"
        size = os.fstat(self._last_words).st_size
        words = os.pread(self._last_words, _LAST_WORDS_BYTES, max(0, size - _LAST_WORDS_BYTES))
        lines = words.decode(errors="replace").strip()
        return f"{text}: {lines}" if lines else text

    def wait(self, seconds: float) -> int | None:
        """The wait status of the process, or None where it is still there after the time."""
        if self._status is None:
            self._status = self._wait_for_status(seconds)
        return self._status

    def _wait_for_status(self, seconds: float) -> int | None:
        deadline = time.monotonic() + seconds
        pause = 0.001
        while True:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                return 0  # Somebody else in this process waited for all of its children.
            if pid:
                return status
            if time.monotonic() >= deadline:
                return None
            time.sleep(pause)
            pause = min(pause * 2, 0.02)

    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self.wait(0) is None

    def signal(self, number: int) -> None:
        """Send a signal to the process, where it still runs."""
        if self.is_alive():
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process without giving it time to end in order, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait(END_SECONDS)
        self._close()

    def end(self) -> None:
        """Close the lifeline and wait for the end of the process; kill it where it does not end."""
        self._close()
        if self.wait(END_SECONDS) is None:
            self.kill()

    def abandon(self) -> None:
        """In a forked child: drop the lifeline, which is the parent's to hold."""
        self._close()

    def _close(self) -> None:
        for descriptor in (self._lifeline, self._ready, self._last_words):
            if descriptor >= 0:
                os.close(descriptor)
        self._lifeline = self._ready = self._last_words = -1


def _free_descriptors(*used: int) -> list[int]:
    """Two numbers for descriptors in the child that clash with none of those in use."""
    return [number for number in range(3, 3 + len(used) + 2) if number not in used][:2]


def _describe_status(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


def _environment() -> dict[str, str]:
    """The environment of the daemon, whose workers must find this very package."""
    environment = dict(os.environ)
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    import sysconfig

    if root not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        known = environment.get("PYTHONPATH", "").split(os.pathsep)
        if root not in known:
            environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, known)])
    environment["WHIPRAY_PYTHON"] = sys.executable
    return environment
