"""Runtime environments as objects, for ``init(runtime_env=...)`` and ``@remote(runtime_env=...)``.

They are dictionaries: whatever takes one takes a plain dictionary as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar

from whipray._runtime_env import SUPPORTED, validate

__all__ = ["RuntimeEnv", "RuntimeEnvConfig"]


class RuntimeEnvConfig(dict[str, Any]):
    """Settings of the making of an environment; the values of others than Ray's are refused."""

    known_fields: ClassVar[set[str]] = {"setup_timeout_seconds", "eager_install", "log_files"}

    def __init__(
        self,
        setup_timeout_seconds: int = 600,
        eager_install: bool = True,
        log_files: list[str] | None = None,
    ) -> None:
        """Raises TypeError and ValueError for bad values."""
        super().__init__()
        if not isinstance(setup_timeout_seconds, int):
            raise TypeError(
                f"setup_timeout_seconds must be of type int, got: {type(setup_timeout_seconds)}"
            )
        if setup_timeout_seconds <= 0 and setup_timeout_seconds != -1:
            raise ValueError(
                "setup_timeout_seconds must be greater than zero or equals to -1, "
                f"got: {setup_timeout_seconds}"
            )
        if not isinstance(eager_install, bool):
            raise TypeError(f"eager_install must be a boolean. got {type(eager_install)}")
        self["setup_timeout_seconds"] = setup_timeout_seconds
        self["eager_install"] = eager_install
        self["log_files"] = list(log_files or [])

    @staticmethod
    def parse_and_validate_runtime_env_config(
        config: dict[str, Any] | RuntimeEnvConfig,
    ) -> RuntimeEnvConfig:
        """The settings of a dictionary. Raises TypeError and ValueError for bad values."""
        if isinstance(config, RuntimeEnvConfig):
            return config
        if not isinstance(config, dict):
            raise TypeError(
                "runtime_env['config'] must be of type dict or RuntimeEnvConfig, "
                f"got: {type(config)}"
            )
        known = RuntimeEnvConfig.known_fields
        return RuntimeEnvConfig(**{name: config[name] for name in config if name in known})

    @classmethod
    def default_config(cls) -> RuntimeEnvConfig:
        """The settings that hold where nothing is said."""
        return cls()

    def to_dict(self) -> dict[str, Any]:
        """A plain copy."""
        return dict(self)


class RuntimeEnv(dict[str, Any]):
    """What workers are to find around them: variables, a working directory, modules."""

    known_fields: ClassVar[set[str]] = set(SUPPORTED)

    def __init__(
        self,
        *,
        py_modules: list[Any] | None = None,
        working_dir: str | None = None,
        env_vars: dict[str, str] | None = None,
        worker_process_setup_hook: Callable[[], Any] | str | None = None,
        config: dict[str, Any] | RuntimeEnvConfig | None = None,
        _validate: bool = True,
        **kwargs: Any,
    ) -> None:
        """Raises TypeError and ValueError for bad values and for fields that are not supported."""
        super().__init__()
        fields = {
            "py_modules": py_modules,
            "working_dir": working_dir,
            "env_vars": env_vars,
            "worker_process_setup_hook": worker_process_setup_hook,
            "config": config,
            **kwargs,
        }
        given = {name: value for name, value in fields.items() if value is not None}
        if config is not None:
            given["config"] = RuntimeEnvConfig.parse_and_validate_runtime_env_config(config)
        self.update(validate(given) if _validate else given)

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, validate({key: value})[key])

    def set(self, name: str, value: Any) -> None:
        """Set a field. Raises TypeError and ValueError for a bad value."""
        self[name] = value

    def get(
        self, name: str, default: Any = None, data_class: Callable[..., Any] | None = None
    ) -> Any:
        """The value of a field, made into a ``data_class`` where one is given."""
        if name not in self:
            return default
        value = self[name]
        return value if data_class is None else data_class(**value)

    @classmethod
    def deserialize(cls, serialized_runtime_env: str) -> RuntimeEnv:
        """What :meth:`serialize` wrote."""
        return cls(_validate=False, **json.loads(serialized_runtime_env))

    def serialize(self) -> str:
        """The fields as JSON, in a fixed order."""
        return json.dumps(self, sort_keys=True)

    def to_dict(self) -> dict[str, Any]:
        """A plain copy."""
        return dict(self)

    def env_vars(self) -> dict[str, str]:
        """Variables of the environment by name."""
        return dict(self.get("env_vars") or {})

    def has_working_dir(self) -> bool:
        """Whether a working directory is given."""
        return bool(self.get("working_dir"))

    def working_dir(self) -> str:
        """The working directory; empty where none is given."""
        return str(self.get("working_dir") or "")

    def py_modules(self) -> list[Any]:
        """The modules."""
        return list(self.get("py_modules") or [])
