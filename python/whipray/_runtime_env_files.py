"""Working directories, modules and hooks of runtime environments, as workers can use them.

Workers get a copy as the files were when the environment was first used, so that a running job
does not see what is edited meanwhile, and does not write among the user's files. Copies lie below
``runtime_resources`` in the session's folder and are shared by all who ask for the same content.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from typing import Any

from whipray._runtime_env import module_path

_ALWAYS_LEFT_OUT = ("__pycache__", ".git", ".venv", "venv")


def snapshot(runtime_env: dict[str, Any], session_folder: str) -> dict[str, Any]:
    """The environment with folders replaced by those of the copies, and nothing but plain values.

    Copies are made below ``session_folder``. Raises OSError where something cannot be copied.
    """
    made = {name: value for name, value in runtime_env.items() if name != "excludes"}
    root = os.path.join(session_folder, "runtime_resources")
    excludes = list(runtime_env.get("excludes") or [])
    if callable(made.get("worker_process_setup_hook")):
        made["worker_process_setup_hook"] = _pickled(made["worker_process_setup_hook"])
    if made.get("working_dir"):
        made["working_dir"] = _copied(root, os.path.abspath(made["working_dir"]), excludes, "")
    if made.get("py_modules"):
        made["py_modules"] = [
            _copied(root, path, excludes, os.path.basename(path))
            for path in map(module_path, made["py_modules"])
        ]
    return made


_PICKLED = "pickle:"


def _pickled(hook: Any) -> str:
    from base64 import b64encode

    from whipray._serialization import dumps

    return _PICKLED + b64encode(dumps(hook)).decode()


def run_hook(hook: str) -> None:
    """Call the function that sets up a worker.

    Raises RuntimeEnvSetupError where it raises or cannot be found.
    """
    from whipray.exceptions import RuntimeEnvSetupError

    try:
        _function_of(hook)()
    except Exception as error:
        name = "" if hook.startswith(_PICKLED) else f" {hook}"
        raise RuntimeEnvSetupError(
            f"The worker_process_setup_hook{name} failed: {type(error).__name__}: {error}"
        ) from error


def _function_of(hook: str) -> Any:
    from base64 import b64decode
    from importlib import import_module
    from pickle import loads

    if hook.startswith(_PICKLED):
        return loads(b64decode(hook[len(_PICKLED) :]))
    module, _, name = hook.rpartition(".")
    return getattr(import_module(module), name)


def enter(runtime_env: dict[str, Any]) -> None:
    """Stand in the working directory of an environment, and have its modules importable."""
    first = [str(folder) for folder in runtime_env.get("py_modules") or []]
    folder = runtime_env.get("working_dir")
    if folder:
        os.chdir(folder)
        first.insert(0, str(folder))
    if first:
        sys.path[:] = [*first, *(path for path in sys.path if path not in first)]
        import importlib

        importlib.invalidate_caches()


def _copied(root: str, source: str, excludes: list[str], name: str) -> str:
    """A folder in ``root`` that holds a copy of ``source``, below ``name`` where that is given."""
    files = list(_files(source, excludes))
    content = hashlib.sha1()
    for path in files:
        status = os.stat(os.path.join(source, path) if path else source)
        content.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    content.update(f"{source}\0{name}".encode())
    folder = os.path.join(root, content.hexdigest())
    if os.path.isdir(folder):
        return folder
    # Another process may be making the same one: whoever is first to rename has made it.
    partial = f"{folder}.{os.getpid()}"
    os.makedirs(partial, exist_ok=True)
    for path in files:
        target = os.path.join(partial, name, path) if path else os.path.join(partial, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy2(os.path.join(source, path) if path else source, target)
    try:
        os.rename(partial, folder)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _files(source: str, excludes: list[str]) -> Iterator[str]:
    """Paths of the files below ``source``, relative to it; one empty path for a file."""
    if os.path.isfile(source):
        yield ""
        return
    for folder, folders, names in os.walk(source):
        inside = os.path.relpath(folder, source)
        prefix = "" if inside == "." else f"{inside}/"
        folders[:] = sorted(
            name
            for name in folders
            if name not in _ALWAYS_LEFT_OUT and not _is_excluded(prefix + name, excludes)
        )
        for name in sorted(names):
            # Not links into nowhere, nor pipes, which have no content to copy.
            is_file = os.path.isfile(os.path.join(folder, name))
            if is_file and not _is_excluded(prefix + name, excludes):
                yield prefix + name


def _is_excluded(path: str, patterns: list[str]) -> bool:
    """Whether a pattern as in ``.gitignore`` (without negation) names this path or its end."""
    for pattern in patterns:
        wanted = pattern.rstrip("/")
        if "/" in wanted:
            if fnmatch.fnmatchcase(path, wanted.lstrip("/")):
                return True
        elif fnmatch.fnmatchcase(os.path.basename(path), wanted):
            return True
    return False
