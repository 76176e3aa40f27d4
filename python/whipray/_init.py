"""init() and shutdown(): joining a cluster, or starting one for the life of this process."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any

from whipray import _address, _context, _core, _job, _runtime_env, _session, _tracing_hook

_SMALLEST_STORE_BYTES = 75 * 1024 * 1024
_RESERVED = {
    "CPU": "num_cpus",
    "GPU": "num_gpus",
    "memory": "_memory",
    "object_store_memory": "object_store_memory",
}
_AS_IN_RAY = {
    "num_cpus": "num_cpus and num_gpus",
    "num_gpus": "num_cpus and num_gpus",
    "system_config": "_system_config",
}
"""What messages call the options of which Ray speaks by other names."""
_HIDDEN = {
    "_driver_object_store_memory",
    "_enable_object_reconstruction",
    "_memory",
    "_metrics_export_port",
    "_node_ip_address",
    "_node_name",
    "_plasma_directory",
    "_redis_password",
    "_redis_username",
    "_skip_env_hook",
    "_system_config",
    "_temp_dir",
    "_tracing_startup_hook",
    "object_spilling_directory",
}


def init(
    address: str | None = None,
    *,
    num_cpus: int | None = None,
    num_gpus: int | None = None,
    resources: dict[str, float] | None = None,
    labels: dict[str, str] | None = None,
    object_store_memory: int | None = None,
    local_mode: bool = False,
    ignore_reinit_error: bool = False,
    include_dashboard: bool | None = None,
    dashboard_host: str = "127.0.0.1",
    dashboard_port: int | None = None,
    job_config: Any = None,
    configure_logging: bool = True,
    logging_level: int | str = "info",
    logging_format: str | None = None,
    logging_config: Any = None,
    log_to_driver: bool | None = None,
    namespace: str | None = None,
    runtime_env: dict[str, Any] | None = None,
    enable_resource_isolation: bool = False,
    cgroup_path: str | None = None,
    system_reserved_cpu: float | None = None,
    system_reserved_memory: int | None = None,
    proxy_server_url: str | None = None,
    **kwargs: Any,
) -> _context.RayContext:
    """Connect this process to a cluster, starting one for its life where there is none.

    ``address``: None takes the running cluster of this machine or starts a new one; "auto" demands
    a running one; "local" always starts one; "host:port" names one. ``RAY_ADDRESS`` stands in for
    None and "auto". A cluster that was started here ends with this process, however that ends.

    ``num_cpus``, ``num_gpus`` and ``resources`` are amounts that tasks and actors share; the
    machine's own by default. ``object_store_memory`` is in bytes, at least 75 MiB. ``namespace`` is
    where names of actors live; a new one by default. ``runtime_env`` has ``env_vars``,
    ``working_dir`` and ``py_modules`` for all workers. ``log_to_driver`` prints the output of
    workers here. ``_temp_dir`` is the folder of sessions, ``_metrics_export_port`` is where metrics
    are read. ``object_spilling_directory`` is where objects go that the store has no room for: a
    directory, or an address in a bucket such as "s3://bucket/path". ``_system_config`` has settings
    of the engine by Ray's names.

    Raises RuntimeError where the process is connected already (unless ``ignore_reinit_error``) or
    the cluster does not start, ConnectionError where the one named cannot be reached, ValueError,
    AssertionError or TypeError for bad values.
    """
    kept = {name: kwargs.pop(name) for name in _HIDDEN & set(kwargs)}
    if kwargs.pop("allow_multiple", False):
        raise RuntimeError(
            "A process connects to one cluster at a time: allow_multiple is not supported."
        )
    if kwargs.pop("storage", None) is not None:
        raise RuntimeError("Cluster-wide storage configuration has been removed.")
    if kwargs:
        raise RuntimeError(f"Unknown keyword argument(s): {', '.join(kwargs)}")
    if local_mode:
        raise RuntimeError("`local_mode` is no longer supported.")
    with _session.current.lock:
        if _session.current.role:
            if not ignore_reinit_error:
                raise RuntimeError(
                    "Maybe you called ray.init twice by accident? This error can be suppressed by "
                    "passing in 'ignore_reinit_error=True' or by calling 'ray.shutdown()' prior to "
                    "'ray.init()'."
                )
            return _context.RayContext(_context.address_info(_session.current.info))
        _check_namespace(namespace)
        python_path: list[str] = []
        detached_actors = False
        if job_config is not None:
            namespace = namespace or job_config.ray_namespace
            runtime_env = runtime_env or job_config.runtime_env
            python_path = list(job_config.code_search_path or [])
            detached_actors = job_config.default_actor_lifetime == "detached"
        runtime_env = _runtime_env.validate(runtime_env)
        environment = {} if logging_config is None else _logging_variables(logging_config)
        with_prefix = not environment
        tracing_hook: str | None = kept.get("_tracing_startup_hook")
        if tracing_hook is not None:
            environment[_tracing_hook.VARIABLE] = _set_up_tracing(tracing_hook)
        if configure_logging:
            _configure_logging(logging_level, logging_format)
        options = {
            "num_cpus": num_cpus,
            "num_gpus": num_gpus,
            "resources": resources,
            "labels": labels,
            "object_store_memory": object_store_memory,
            "object_spilling_directory": kept.get("object_spilling_directory"),
            "system_config": kept.get("_system_config"),
        }
        temp_dir: str | None = kept.get("_temp_dir")
        if temp_dir is not None:
            temp_dir = os.fspath(temp_dir)
        found = _address.find(address, temp_dir)
        if found is not None:
            _refuse_for_existing(options)
        else:
            _check_resources(options)
            _check_amount("_memory", kept.get("_memory"))
        if log_to_driver is None:
            log_to_driver = os.environ.get("RAY_LOG_TO_DRIVER", "1") not in ("0", "false", "False")
        return _connect(
            found,
            {
                **options,
                "memory": kept.get("_memory"),
                "temp_dir": _address.temporary_folder(temp_dir),
                "node_ip": kept.get("_node_ip_address"),
                "metrics_export_port": kept.get("_metrics_export_port"),
                "python": sys.executable or "python3",
            },
            namespace or os.environ.get("RAY_NAMESPACE") or _new_namespace(),
            runtime_env,
            environment,
            log_to_driver,
            with_prefix,
            python_path,
            detached_actors,
        )


def _connect(
    found: dict[str, Any] | None,
    options: dict[str, Any],
    namespace: str,
    runtime_env: dict[str, Any],
    environment: dict[str, str],
    log_to_driver: bool,
    with_prefix: bool,
    python_path: list[str],
    detached_actors: bool,
) -> _context.RayContext:
    daemon = None
    joined = found is not None
    try:
        if found is None:
            from whipray._daemon import Daemon

            chosen = {name: value for name, value in options.items() if value is not None}
            daemon = Daemon(chosen)
            # The pickler is needed soon, and loading it costs nothing while the daemon starts.
            import whipray._serialization  # noqa: F401

            found = daemon.answer()
        if set(runtime_env) - {"env_vars", "config"}:
            from whipray._runtime_env_files import snapshot

            runtime_env = snapshot(runtime_env, found["session_directory"])
        endpoint = found["endpoint"]
        worker_id = os.urandom(28)
        info = _core.connect(
            role=_session.DRIVER,
            endpoint=endpoint,
            token=found["token"],
            listen=f"{endpoint.rpartition('/')[0]}/d-{worker_id.hex()[:16]}",
            worker_id=worker_id,
            job=_job.description(
                namespace, runtime_env, environment, log_to_driver, python_path, detached_actors
            ),
        )
    except BaseException:
        if daemon is not None:
            daemon.end()
        raise
    info["endpoint"] = endpoint
    session = _session.current
    session.enter(_session.DRIVER, info, namespace)
    session.runtime_env = session.job_runtime_env = runtime_env
    session.detached_actors = detached_actors
    session.daemon = daemon
    from whipray._events import EventReader

    # Records of a logging configuration say themselves who writes, and programs may read them.
    session.events = EventReader(log_to_driver, with_prefix)
    atexit.unregister(_at_exit)
    atexit.register(_at_exit)
    if sys.breakpointhook is sys.__breakpointhook__ and "PYTHONBREAKPOINT" not in os.environ:
        sys.breakpointhook = _breakpoint
    _tracing_hook.begin_in_driver(environment.get(_tracing_hook.VARIABLE), joined)
    return _context.RayContext(_context.address_info(info))


def shutdown(*, wait_for_processes: bool = False, _exiting_interpreter: bool = False) -> None:
    """End the connection, and the cluster where :func:`init` started it; nothing without one.

    What workers printed until now is printed before. References and handles of the connection are
    worthless afterwards. A cluster of this process has always ended when this returns.
    """
    session = _session.current
    with session.lock:
        if session.role != _session.DRIVER:
            return
        daemon, events = session.daemon, session.events
        if sys.breakpointhook is _breakpoint:
            sys.breakpointhook = sys.__breakpointhook__
        if "whipray._tracing" in sys.modules:
            from whipray import _tracing

            _tracing.end()
        session.clear()
        try:
            if events is not None:
                events.flush()
            _core.disconnect(shut_down_cluster=daemon is not None)
            if events is not None:
                events.end()
        finally:
            if daemon is not None:
                daemon.end()


def _set_up_tracing(hook: Any) -> str:
    """Raises TypeError for what is no name, and as :func:`whipray._tracing.set_up`."""
    if not isinstance(hook, str):
        raise TypeError(f"_tracing_startup_hook is 'module:function', not {hook!r}")
    from whipray import _tracing

    _tracing.set_up(hook)
    return hook


def _breakpoint(*args: Any, **kwargs: Any) -> None:
    from whipray.util import rpdb

    rpdb.stop_driver_at(sys._getframe().f_back)


def _at_exit() -> None:
    shutdown(_exiting_interpreter=True)


def is_initialized() -> bool:
    """Whether this process is connected to a cluster."""
    return bool(_session.current.role)


def _new_namespace() -> str:
    digits = os.urandom(16).hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _check_namespace(namespace: Any) -> None:
    if namespace is None:
        return
    if not isinstance(namespace, str):
        raise TypeError("namespace must be None or a string.")
    if not namespace:
        raise ValueError('"" is not a valid namespace. Pass None to not specify a namespace.')


def _refuse_for_existing(options: dict[str, Any]) -> None:
    given = {_AS_IN_RAY.get(name, name): None for name in options if options[name] is not None}
    if given:
        raise ValueError(
            f"When connecting to an existing cluster, {', '.join(given)} must not be provided."
        )


def _check_gpus(count: float) -> None:
    from whipray import _gpus

    names = _gpus.visible()
    if names is not None and count > len(names):
        raise ValueError(
            f"Attempting to start raylet with {count} GPU, but {_gpus.VARIABLE} contains {names}."
        )


def check_amounts(options: dict[str, Any]) -> None:
    """Check what a node is to have.

    Raises AssertionError for what is no number and for custom resources with the name of a default
    one, ValueError for negative numbers, for those that are not whole, and for too small an object
    store.
    """
    for name in ("num_cpus", "num_gpus"):
        _check_amount(name, options[name])
    for resource, amount in (options.get("resources") or {}).items():
        own = _RESERVED.get(resource)
        assert own is None, (
            f"{resource!r} cannot be a custom resource because it is one of the default resources. "
            f"Use `{own}` instead."
        )
        _check_amount(resource, amount)
    size = options["object_store_memory"]
    if size is not None:
        if size < _SMALLEST_STORE_BYTES:
            raise ValueError(
                f"Attempting to cap object store memory usage at {size} bytes, but the minimum "
                f"allowed is {_SMALLEST_STORE_BYTES} bytes."
            )
        options["object_store_memory"] = int(size)


def _check_resources(options: dict[str, Any]) -> None:
    check_amounts(options)
    if options["num_gpus"]:
        _check_gpus(options["num_gpus"])
    if options["labels"]:
        from whipray._labels import check_labels

        check_labels(options["labels"])


def _check_amount(name: str, amount: Any) -> None:
    if amount is None:
        return
    is_number = isinstance(amount, (int, float)) and not isinstance(amount, bool)
    assert is_number, f"{name} must be a number, not {amount!r}"
    if amount < 0:
        raise ValueError(f"Resource quantities must be nonnegative: {name}={amount}")
    if amount != int(amount):
        raise ValueError(f"Resource quantities must all be whole numbers: {name}={amount}")


def _logging_variables(logging_config: Any) -> dict[str, str]:
    """Set up logging here; the variables of the environment that have the workers do so.

    Raises TypeError for what is no LoggingConfig.
    """
    import json

    from whipray import _logging_config

    if not isinstance(logging_config, _logging_config.LoggingConfig):
        raise TypeError(f"logging_config must be a LoggingConfig, not {type(logging_config)}")
    _logging_config.apply(logging_config)
    return {_logging_config.VARIABLE: json.dumps(logging_config.to_dict())}


def _configure_logging(level: int | str, format: str | None) -> None:
    """Level and format of the logger ``whipray``; nothing where they are the defaults.

    Raises ValueError for a level that is none.
    """
    if level in ("info", "INFO", 20) and format is None:
        return  # ``logging`` is slow to load, and nothing has to change.
    import logging

    logger = logging.getLogger("whipray")
    logger.setLevel(level.upper() if isinstance(level, str) else level)
    if format is not None:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(format))
        logger.handlers[:] = [handler]
