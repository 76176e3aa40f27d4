"""What the workers must know of this driver to import what it can."""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def description(
    namespace: str,
    runtime_env: dict[str, Any],
    environment: dict[str, str],
    log_to_driver: bool,
    python_path: list[str],
    detached_actors: bool,
) -> dict[str, Any]:
    """The ``job`` of :func:`whipray._core.connect`.

    ``environment`` are variables beside those of ``runtime_env``; ``python_path`` is searched
    before the driver's own path, and the folders of ``runtime_env`` before both. With
    ``detached_actors`` the actors outlive the job where they do not say.
    """
    folder = runtime_env.get("working_dir")
    first = [*filter(None, [folder]), *(runtime_env.get("py_modules") or []), *python_path]
    return {
        "entrypoint": " ".join(getattr(sys, "orig_argv", sys.argv)),
        "python_path": _python_path(first),
        "working_directory": folder or _working_directory(),
        "namespace": namespace,
        "environment": {**(runtime_env.get("env_vars") or {}), **environment},
        "log_to_driver": log_to_driver,
        "detached_actors": detached_actors,
        "runtime_env": json.dumps(runtime_env) if runtime_env else "",
    }


def _working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/"  # It was removed while the program stood in it.


def _python_path(first: list[str]) -> list[str]:
    """The driver's ``sys.path`` in its order, as absolute paths without repetitions.

    The script's folder is its first entry, or the working directory of an interactive session.
    """
    paths = [os.path.abspath(path) for path in (*first, *sys.path)]
    return list(dict.fromkeys(paths))
