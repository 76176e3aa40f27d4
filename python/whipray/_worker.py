"""What a worker process does for the compiled core: find code, run actors, describe errors."""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import whipray._serialization  # noqa: F401  (loaded in the template, for all workers)
from whipray import _core, _function, _gpus, _runtime_env, _session, _tracing_hook
from whipray._task_errors import dump_dependency_error, dump_error
from whipray._worker_output import open_standard_streams

if TYPE_CHECKING:
    from whipray._worker_async import EventLoop
    from whipray._worker_threads import ThreadGroups

_COROUTINE_FLAG = 0x80
_BREAKPOINT = "whipray.util.rpdb.set_trace"
"""What ``breakpoint()`` calls, where the environment of the task does not say."""

_own_environment: dict[str, str] = {}
_threads: ThreadGroups | None = None
_loop: EventLoop | None = None
_actor: Any = None
_actor_class: Any = None
_actor_id = ""
_job: dict[str, Any] | None = None
_own_runtime_env: dict[str, Any] | None = None
_is_traced = False


def main(request: dict[str, Any]) -> int:
    """Be the worker that the daemon asked for (see ``spawn``) until the node is gone or lets it go.

    Returns the exit code.
    """
    _enter_environment(request.get("environment") or {})
    open_standard_streams(request["log_directory"], request["worker"])
    # The stack of a crash is among the last lines of the standard error, which the report has.
    faulthandler.enable(2, all_threads=False)
    endpoint = request["endpoint"]
    worker = request["worker"]
    info = _core.connect(
        role=_session.WORKER,
        endpoint=endpoint,
        token=request["token"],
        listen=f"{endpoint.rpartition('/')[0]}/w-{worker[:16]}",
        worker_id=bytes.fromhex(worker),
        job=None,
    )
    info["endpoint"] = endpoint
    _session.current.enter(_session.WORKER, info, "")
    _core.run_worker(sys.modules[__name__])
    return 0


def _enter_environment(variables: dict[str, str]) -> None:
    global _own_runtime_env
    os.environ["PYTHONBREAKPOINT"] = _BREAKPOINT
    # Not for programs that the task starts.
    own = variables.get(_runtime_env.VARIABLE)
    if own is not None:
        import json

        _own_runtime_env = json.loads(own)
    # What refers to other variables has to wait for those of the job.
    os.environ.update(
        (name, value)
        for name, value in variables.items()
        if name != _runtime_env.VARIABLE and "$" not in value
    )
    _own_environment.update(os.environ)


def _set_variables(variables: dict[str, str]) -> None:
    """``$NAME`` and ``${NAME}`` in a value stand for what that variable has been until now.

    A ``${NAME}`` that there is not is left out.
    """
    for name, value in variables.items():
        if "$" in value:
            from re import sub

            value = sub(r"\$\{[A-Z0-9_]+\}", "", os.path.expandvars(value))
        os.environ[name] = _own_environment[name] = value


def bind_job(job: dict[str, Any]) -> None:
    """Stand where the driver stands, with its path and the variables of its environment.

    What the worker's own runtime environment says goes before what the job's says.
    """
    global _job
    _job = job
    own_runtime_env = _own_runtime_env or {}
    variables = {**job["environment"], **(own_runtime_env.get("env_vars") or {})}
    _set_variables(variables)
    _gpus.keep_environment()
    own = [path for path in sys.path if path not in job["python_path"]]
    sys.path[:] = [*job["python_path"], *own]
    try:
        os.chdir(job["working_directory"])
    except OSError as error:
        print(f"whipray: the driver's working directory is not there: {error}", file=sys.stderr)
    import importlib

    importlib.invalidate_caches()
    _session.current.namespace = job["namespace"]
    _session.current.detached_actors = job["detached_actors"]
    if job.get("runtime_env"):
        import json

        _session.current.job_runtime_env = json.loads(job["runtime_env"])
    _session.current.runtime_env = _session.current.job_runtime_env
    if _own_runtime_env is not None:
        from whipray import _runtime_env_files

        _session.current.runtime_env = _own_runtime_env
        _runtime_env_files.enter(_own_runtime_env)
    hook = _session.current.runtime_env.get("worker_process_setup_hook")
    if hook:
        from whipray._runtime_env_files import run_hook

        run_hook(hook)
    _session.current.info["job_id"] = job["job_id"]
    if "WHIPRAY_LOGGING_CONFIG" in job["environment"]:
        from whipray import _logging_config

        _logging_config.apply_json(job["environment"][_logging_config.VARIABLE])
    _begin_tracing(_tracing_hook.of_worker(job))


def _begin_tracing(hook: str | None) -> None:
    global _is_traced
    if hook is None:
        return
    from whipray import _tracing

    _is_traced = True
    _tracing.set_up_worker(hook, of_cluster=_tracing_hook.VARIABLE in _own_environment)


def load_function(function_id: bytes, class_name: str) -> Any:
    """The function of this id; the class of an actor where ``class_name`` is not empty.

    Raises RuntimeError for a definition that cannot be unpickled here.
    """
    try:
        found = _function.load(function_id)
    except Exception as error:
        what = f"actor with name {class_name}" if class_name else "remote function"
        raise RuntimeError(
            f"The {what} failed to import on the worker. This may be because needed library "
            "dependencies are not installed in the worker environment or cannot be found from "
            f"sys.path {sys.path}: {type(error).__name__}: {error}"
        ) from error
    if _is_traced and not class_name:
        from whipray import _tracing

        found = _tracing.traced_function(found)
    if not class_name and _may_be_debugged():
        from whipray._debugger import returning

        found = returning.marking(found)
    return found


def _may_be_debugged() -> bool:
    """Whether ``whipray debug`` may attach to this process."""
    return os.environ.get("RAY_DEBUG") == "legacy"


def assign(resources: dict[str, float], gpu_ids: list[int]) -> None:
    """Tell libraries, by variables of the environment, what the lease or the actor brought."""
    _gpus.show(gpu_ids)
    if "OMP_NUM_THREADS" not in _own_environment:
        # More threads than CPUs of the task would fight with the tasks beside it.
        os.environ["OMP_NUM_THREADS"] = str(max(1, int(resources.get("CPU", 1))))


def task_error(exception: BaseException, name: str) -> bytes:
    """The value that stands for an exception of user code."""
    if os.environ.get("RAY_DEBUG_POST_MORTEM") == "1":
        from whipray.util import rpdb

        rpdb.post_mortem_of(exception)
    return dump_error(exception, name, *_actor_of_error())


def dependency_error(exception: BaseException, name: str) -> bytes:
    """The value that stands for a task which did not run because of an argument's error."""
    return dump_dependency_error(exception, name, *_actor_of_error())


def _actor_of_error() -> tuple[str | None, str | None]:
    """How the text of an error shows the actor of this process, and the actor's id."""
    if _actor_class is None:
        return None, None
    # Where the constructor raised there is no instance to ask.
    shown = f"<{actor_class_name()} object>" if _actor is None else _safe_repr(_actor)
    return shown, _actor_id


def cancelled_error(exception: Any, task_id: bytes) -> BaseException:
    """The error of a task that was cancelled where ``exception`` was raised."""
    from whipray._ids import TaskID
    from whipray.exceptions import TaskCancelledError

    error = TaskCancelledError(TaskID(task_id))
    return error.with_traceback(getattr(exception, "__traceback__", None))


def _safe_repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"


def is_retryable(exception: BaseException, types: bytes) -> bool:
    """Whether the exception is of one of the pickled types that its task retries."""
    from pickle import loads

    return isinstance(exception, loads(types))


def start_actor(
    spec: dict[str, Any], cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """The instance of an actor: its constructor runs here. Raises what that raises."""
    global _actor, _actor_class, _actor_id, _threads, _loop
    from whipray import _worker_output

    _actor_class = cls
    _actor_id = spec["actor_id"].hex()
    _worker_output.name_actor(spec["class_name"])
    _session.current.info["actor"] = spec
    groups = dict(spec["concurrency_groups"])
    if spec["is_async"]:
        from whipray._worker_async import EventLoop

        _loop = EventLoop(groups, spec["max_concurrency"])
    elif spec["max_concurrency"] > 1 or groups:
        from whipray._worker_threads import ThreadGroups

        _threads = ThreadGroups(groups, spec["max_concurrency"])
    if _may_be_debugged():
        from whipray._debugger import returning

        returning.mark_methods(cls)
    if _is_traced:
        from whipray import _tracing

        _tracing.trace_methods(cls)
        with _tracing.construction(cls, kwargs) as kwargs:
            _actor = _constructed(cls, args, kwargs)
    else:
        _actor = _constructed(cls, args, kwargs)
    if cls.__repr__ is not object.__repr__:
        _worker_output.name_actor(_safe_repr(_actor))
    return _actor


def _constructed(cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if _loop is None:
        return cls(*args, **kwargs)
    # Inside of the event loop, which the constructor may ask for.
    return _loop.complete(_constructed_by_coroutine(cls, args, kwargs))


async def _constructed_by_coroutine(cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    code = getattr(cls.__init__, "__code__", None)
    if code is None or not code.co_flags & _COROUTINE_FLAG:
        return cls(*args, **kwargs)
    instance = cls.__new__(cls, *args, **kwargs)
    await instance.__init__(*args, **kwargs)
    return instance


def actor_class_name() -> str:
    """``module.qualified_name`` of the class of this process's actor."""
    return f"{_actor_class.__module__}.{_actor_class.__qualname__}"


def actor_method(instance: Any, name: str) -> Callable[..., Any]:
    """The method of an actor, or one of those that every actor has."""
    hidden = _HIDDEN_METHODS.get(name)
    if hidden is None or hasattr(type(instance), name):
        method: Callable[..., Any] = getattr(instance, name)
        return method
    import functools

    return functools.partial(hidden, instance)


def _ready(instance: Any) -> bool:
    return True


def _call(instance: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(instance, *args, **kwargs)


def _terminate(instance: Any) -> None:
    _core.exit_actor()
    raise SystemExit(0)


_HIDDEN_METHODS: dict[str, Callable[..., Any]] = {
    "__ray_ready__": _ready,
    "__ray_call__": _call,
    "__ray_terminate__": _terminate,
}


def dispatch(job: Callable[[], object], group: str) -> None:
    """Run ``job`` on a thread of the group."""
    assert _threads is not None, "only actors with several threads dispatch"
    _threads.submit(job, group)


def run_async(call: _core.AsyncCall, group: str) -> Callable[[], object]:
    """Run a call of an asynchronous actor in its event loop; what is returned cancels it."""
    assert _loop is not None, "only asynchronous actors run coroutines"
    return _loop.run(call, group)


def enter_event_loop(descriptor: int, drive: Callable[[], bool]) -> None:
    """Run the event loop of an asynchronous actor until ``drive()`` returns False."""
    assert _loop is not None, "only asynchronous actors have an event loop"
    _loop.enter(descriptor, drive)


def exit_code(exception: SystemExit) -> int:
    """The exit code that ``sys.exit`` means; its text goes to the standard error."""
    code = exception.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def stop() -> None:
    """Before the process ends in order: let the actor and the user's exit functions say goodbye."""
    import atexit

    # The process ends without the interpreter's own end, which would drop the actor.
    for name in ("__ray_shutdown__", None, "__del__"):
        try:
            if name is None:
                atexit._run_exitfuncs()
            elif hasattr(type(_actor), name):
                getattr(type(_actor), name)(_actor)
        except Exception:
            import traceback

            traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # The user closed it.
