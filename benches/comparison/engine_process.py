"""The process that runs one engine for the comparison, under that engine's own interpreter.

Usage: engine_process.py MODULE SOCKET_FD. It reads requests from the socket, one JSON object per
line, each `{"do": NAME, ...}`, and answers each with one JSON object: the result, or
`{"error": TEXT}`. It ends when the socket closes. It needs nothing but the standard library and the
engine, and loads the workloads of `whipray microbenchmark` by their path, so that an interpreter
that has only Ray can run them.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable

REPOSITORY = Path(__file__).resolve().parents[2]
WORKLOADS = REPOSITORY / "python" / "whipray" / "_microbenchmark"
WORKLOADS_NAME = "microbenchmark_workloads"
ENVELOPE = Path(__file__).with_name("envelope.py")
ENVELOPE_NAME = "envelope_workloads"


def load(name: str, path: Path) -> None:
    """Makes the module at `path` (or the package, for an `__init__.py`) importable as `name`."""
    folders = [str(path.parent)] if path.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=folders)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module in {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


class Engine:
    """What the parent can ask for. Methods named `do_x` are requests; times are in seconds."""

    def __init__(self, module_name: str) -> None:
        self._module_name = module_name
        self._engine: Any = None
        self._opened = ExitStack()
        self._meter: Any = None
        self._actors: list[Any] = []

    def do_import(self) -> dict[str, Any]:
        """Imports the engine."""
        start = time.perf_counter()
        self._engine = importlib.import_module(self._module_name)
        return {"seconds": time.perf_counter() - start, "version": self._engine.__version__}

    def do_open(self, kind: str) -> dict[str, Any]:
        """Opens a session of this kind; one that is open is closed first."""
        session = importlib.import_module(f"{WORKLOADS_NAME}.session").session
        self.do_close()
        start = time.perf_counter()
        self._opened.enter_context(session(self._engine, kind))
        return {"seconds": time.perf_counter() - start}

    def do_close(self) -> dict[str, Any]:
        """Closes the session, if one is open."""
        self.do_release()
        self._actors.clear()
        start = time.perf_counter()
        self._opened.close()
        return {"seconds": time.perf_counter() - start}

    def do_check(self, line: str) -> dict[str, Any]:
        """What this line needs and the engine lacks."""
        return {"missing": self._line(line).missing_need(self._engine)}

    def do_prepare(self, line: str, warm_up: float) -> dict[str, Any]:
        """Prepares this line in the open session and warms it up."""
        meter = importlib.import_module(f"{WORKLOADS_NAME}.meter").Meter
        found = self._line(line)
        self._meter = meter(found.prepare(self._engine), found.operations)
        self._meter.warm_up(warm_up)
        return {}

    def do_round(self, seconds: float) -> dict[str, Any]:
        """One timed round of the prepared line."""
        self._meter.refresh()
        return {"rate": self._meter.round(seconds)}

    def do_release(self) -> dict[str, Any]:
        """Lets go of the prepared line."""
        self._meter = None
        gc.collect()
        return {}

    def do_first_task(self) -> dict[str, Any]:
        """One no-op task."""
        tasks = importlib.import_module(f"{WORKLOADS_NAME}.task_lines")
        task = tasks.small_task(self._engine)
        start = time.perf_counter()
        self._engine.get(task.remote())
        return {"seconds": time.perf_counter() - start}

    def do_actors(self, count: int) -> dict[str, Any]:
        """Creates `count` actors and calls each once; they live until the session is closed."""
        actors = importlib.import_module(f"{WORKLOADS_NAME}.actor_lines")
        server = actors.server_class(self._engine)
        start = time.perf_counter()
        made = [server.remote() for _ in range(count)]
        self._engine.get([actor.small_value.remote() for actor in made])
        self._actors.extend(made)
        return {"seconds": time.perf_counter() - start}

    def do_envelope(self, name: str) -> dict[str, Any]:
        """One measurement at the limits of a machine, in an open session."""
        measurements = importlib.import_module(ENVELOPE_NAME).MEASUREMENTS
        return {"figures": measurements[name](self._engine)}

    def _line(self, name: str) -> Any:
        lines = importlib.import_module(f"{WORKLOADS_NAME}.lines").LINES
        return next(line for line in lines if line.name == name)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request; what it raises becomes an answer, too."""
        wanted = dict(request)
        action: Callable[..., dict[str, Any]] | None = getattr(self, f"do_{wanted.pop('do')}", None)
        if action is None:
            return {"error": f"no such request: {request}"}
        try:
            return action(**wanted)
        except Exception as problem:
            return {"error": f"{type(problem).__name__}: {problem}"}


def main() -> None:
    """Serves requests until the socket closes."""
    module_name, descriptor = sys.argv[1], int(sys.argv[2])
    # Workers take over `sys.path`: it must be the one that a user's program would have.
    sys.path.remove(str(Path(__file__).parent))
    os.set_inheritable(descriptor, False)
    load(WORKLOADS_NAME, WORKLOADS / "__init__.py")
    load(ENVELOPE_NAME, ENVELOPE)
    engine = Engine(module_name)
    with socket.socket(fileno=descriptor) as channel, channel.makefile("rw") as stream:
        for request in stream:
            stream.write(json.dumps(engine.answer(json.loads(request))) + "\n")
            stream.flush()
        engine.do_close()


if __name__ == "__main__":
    main()
