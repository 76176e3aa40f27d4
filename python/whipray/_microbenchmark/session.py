"""The kinds of session that lines are measured in, opened and closed with an engine module."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 20.0
RETRY_SECONDS = 0.5


def environment(kind: str) -> dict[str, str]:
    """Variables that a process needs before it imports the engine, for sessions of this kind.

    The two ends of a "client" session share a new token: whether the user of this machine has one,
    which one end would pick up and the other would not, then makes no difference.
    """
    if kind != "client":
        return {}
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@contextmanager
def session(engine: Any, kind: str) -> Iterator[None]:
    """An open session of `engine` of the kind that `Line.session` names.

    "local" is a cluster of this machine for this process alone, "custom resource" the same with 100
    of the resource `custom`, "client" a connection as a remote client to a cluster that a command
    started. Raises whatever the engine raises where it cannot start; `ValueError` for another kind.
    """
    if kind == "local":
        engine.init(address="local")
    elif kind == "custom resource":
        engine.init(address="local", resources={"custom": 100})
    elif kind == "client":
        with _client_session(engine):
            yield
        return
    else:
        raise ValueError(f"no session of kind {kind!r}: local, custom resource or client")
    try:
        yield
    finally:
        engine.shutdown()


@contextmanager
def _client_session(engine: Any) -> Iterator[None]:
    command = Path(sys.executable).with_name(engine.__name__)
    port = _free_port()
    # The folder of its own keeps this cluster from becoming the machine's current one.
    with tempfile.TemporaryDirectory(prefix="microbenchmark-") as folder:
        arguments = ["start", "--head", "--block", "--port=0"]
        arguments += [f"--ray-client-server-port={port}", f"--temp-dir={folder}"]
        with open(Path(folder, "head.log"), "wb") as log:
            head = subprocess.Popen([str(command), *arguments], stdout=log, stderr=log)
        try:
            _connect(engine, port, head)
            try:
                yield
            finally:
                engine.shutdown()
        finally:
            head.terminate()
            try:
                head.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                head.kill()
                head.wait()


def _connect(engine: Any, port: int, head: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not _accepts(port):
        if head.poll() is not None:
            raise RuntimeError(f"the head process ended with status {head.returncode}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"no client server on port {port} in {START_TIMEOUT_SECONDS:.0f} s")
        time.sleep(RETRY_SECONDS)
    engine.init(f"ray://127.0.0.1:{port}")


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
