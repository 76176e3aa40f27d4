"""Settings of a job as an object, for ``init(job_config=...)``."""

from __future__ import annotations

from typing import Any

from whipray import _runtime_env

__all__ = ["JobConfig"]


class JobConfig:
    """Namespace, runtime environment, module folders and metadata of a job."""

    def __init__(
        self,
        jvm_options: list[str] | None = None,
        code_search_path: list[str] | None = None,
        runtime_env: dict[str, Any] | None = None,
        _client_job: bool = False,
        metadata: dict[str, str] | None = None,
        ray_namespace: str | None = None,
        default_actor_lifetime: str = "non_detached",
        _disable_job_level_lineage_reconstruction: bool = False,
        _py_driver_sys_path: list[str] | None = None,
    ) -> None:
        """``code_search_path`` is searched by the workers before the driver's own ``sys.path``.

        Raises as the setters below; ValueError for ``jvm_options``, as there is no Java here.
        """
        if jvm_options:
            raise ValueError("jvm_options are for Java workers, which this engine does not have.")
        self.code_search_path = [*(code_search_path or []), *(_py_driver_sys_path or [])]
        self.metadata = dict(metadata or {})
        self.set_runtime_env(runtime_env)
        self.set_ray_namespace(ray_namespace)
        self.set_default_actor_lifetime(default_actor_lifetime)

    @classmethod
    def from_json(cls, job_config_json: dict[str, Any]) -> JobConfig:
        """A configuration from a dictionary as JSON gives it; other keys are left alone.

        Raises as the constructor.
        """
        return cls(
            jvm_options=job_config_json.get("jvm_options"),
            code_search_path=job_config_json.get("code_search_path"),
            runtime_env=job_config_json.get("runtime_env"),
            metadata=job_config_json.get("metadata"),
            ray_namespace=job_config_json.get("ray_namespace"),
            _client_job=bool(job_config_json.get("client_job")),
        )

    def set_metadata(self, key: str, value: str) -> None:
        """Attach a pair of strings to the job."""
        self.metadata[key] = value

    def set_runtime_env(self, runtime_env: dict[str, Any] | None, validate: bool = False) -> None:
        """The environment of the job's workers. Raises TypeError or ValueError for a bad one."""
        self.runtime_env = _runtime_env.validate(runtime_env)

    def set_ray_namespace(self, ray_namespace: str | None) -> None:
        """Where names of the job's actors live; None: a namespace of its own."""
        self.ray_namespace = ray_namespace

    def set_default_actor_lifetime(self, default_actor_lifetime: str) -> None:
        """Whether actors that do not say outlive the job (``"detached"``) or not.

        Raises ValueError for anything but ``"detached"`` and ``"non_detached"``.
        """
        if default_actor_lifetime not in ("detached", "non_detached"):
            raise ValueError("Default actor lifetime must be one of `detached`, `non_detached`")
        self.default_actor_lifetime = default_actor_lifetime
