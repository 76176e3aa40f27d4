"""Runtime environments: what a job, a task or an actor wants to find around it."""

from __future__ import annotations

import json
import os
import types
from typing import Any

from whipray import _session

SUPPORTED = (
    "env_vars",
    "working_dir",
    "py_modules",
    "excludes",
    "worker_process_setup_hook",
    "config",
)

VARIABLE = "WHIPRAY_RUNTIME_ENV"
"""The variable in which the workers of tasks and actors with an environment of their own find it,
as JSON: the fields as they are after :func:`whipray._runtime_env_files.snapshot`."""


def validate(runtime_env: Any) -> dict[str, Any]:
    """A checked copy; an empty one for None.

    Raises TypeError for wrong types, ValueError for a field that is not supported, naming those
    that are, and for folders that do not exist.
    """
    if runtime_env is None:
        return {}
    if not hasattr(runtime_env, "keys"):
        raise TypeError(f"runtime_env must be a dictionary, not {type(runtime_env)}")
    runtime_env = {name: runtime_env[name] for name in runtime_env}
    unknown = sorted(str(name) for name in runtime_env if name not in SUPPORTED)
    if unknown:
        raise ValueError(
            f"runtime_env has unsupported fields {unknown}; the supported ones are "
            f"{list(SUPPORTED)}"
        )
    check_variables(runtime_env.get("env_vars"))
    _check_working_dir(runtime_env.get("working_dir"))
    _check_modules(runtime_env.get("py_modules"))
    _check_excludes(runtime_env.get("excludes"))
    _check_hook(runtime_env.get("worker_process_setup_hook"))
    if runtime_env.get("config") is not None:
        from whipray.runtime_env import RuntimeEnvConfig

        RuntimeEnvConfig.parse_and_validate_runtime_env_config(runtime_env["config"])
    return runtime_env


def check_variables(variables: Any) -> None:
    """Raises TypeError for anything but a dictionary of strings, or None."""
    if variables is None:
        return
    if not isinstance(variables, dict):
        raise TypeError(
            f"runtime_env['env_vars'] must be of type Dict[str, str], got {type(variables)}"
        )
    for name, value in variables.items():
        for part, what in ((name, "key"), (value, "value")):
            if not isinstance(part, str):
                raise TypeError(
                    "runtime_env['env_vars'] must be of type Dict[str, str], "
                    f"but the {what} {part} is of type {type(part)}"
                )


def _check_working_dir(folder: Any) -> None:
    if folder is None:
        return
    if not isinstance(folder, (str, os.PathLike)):
        raise TypeError(f"`working_dir` must be a string, got {type(folder)}.")
    if not os.path.isdir(folder):
        raise ValueError(
            f"{folder} is not a valid path. `working_dir` takes a folder of this machine."
        )


def _check_modules(modules: Any) -> None:
    if modules is None:
        return
    if not isinstance(modules, list):
        raise TypeError(f"`py_modules` must be a list of strings, got {type(modules)}.")
    for module in modules:
        if not isinstance(module, (str, os.PathLike, types.ModuleType)):
            raise TypeError(
                f"`py_modules` must be a list of file paths, URIs, or Python modules, got "
                f"{type(module)}."
            )
        if not os.path.exists(module_path(module)):
            raise ValueError(
                f"{module} is not a valid path. `py_modules` takes folders and Python files of "
                "this machine, and modules."
            )


def _check_excludes(patterns: Any) -> None:
    if patterns is not None and not isinstance(patterns, list):
        raise TypeError(f"runtime_env['excludes'] must be of type List[str], got {type(patterns)}")


def _check_hook(hook: Any) -> None:
    if hook is not None and not isinstance(hook, str) and not callable(hook):
        raise TypeError(
            f"Invalid type {type(hook)} for `worker_process_setup_hook`. It must be a function or "
            "the name of one (`module.function`)."
        )


def module_path(module: Any) -> str:
    """The folder of a package or the file of a module, given by its path or by itself."""
    if isinstance(module, types.ModuleType):
        paths = getattr(module, "__path__", None)
        return str(next(iter(paths)) if paths else module.__file__)
    return os.path.abspath(os.fspath(module))


def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """``old`` with what ``new`` says; their variables are joined."""
    merged = {**old, **new}
    if old.get("env_vars") and new.get("env_vars"):
        merged["env_vars"] = {**old["env_vars"], **new["env_vars"]}
    return merged


def environment_of(runtime_env: Any) -> dict[str, str]:
    """The variables of the process environment in which a task or actor with this runtime
    environment is to run; what submits it hands its own environment on.

    Raises as :func:`validate`.
    """
    given = validate(runtime_env)
    session = _session.current
    if not given and session.runtime_env == session.job_runtime_env:
        return {}
    _session.ensure()
    from whipray._runtime_env_files import snapshot

    merged = merge(session.runtime_env, snapshot(given, session.info["session_directory"]))
    if merged == session.job_runtime_env:
        return {}
    variables = dict(merged.get("env_vars") or {})
    variables[VARIABLE] = json.dumps(merged, sort_keys=True)
    return variables
