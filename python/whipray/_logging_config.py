"""How the driver and the workers of a job write the records of Python's own ``logging``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging

VARIABLE = "WHIPRAY_LOGGING_CONFIG"
"""The variable of the environment in which workers find the configuration, as JSON."""

_ENCODINGS = ("TEXT", "JSON")
_ATTRIBUTES = frozenset(
    "args asctime created exc_info exc_text filename funcName levelname levelno lineno message "
    "module msecs msg name pathname process processName relativeCreated stack_info taskName thread "
    "threadName".split()
)
"""What every record has; other attributes came with the ``extra`` of a call."""


@dataclass
class LoggingConfig:
    """For ``init(logging_config=...)``: sets up the root logger of the driver and of all workers.

    ``encoding`` is ``"TEXT"`` or ``"JSON"``; records carry the ids of job, worker, node, actor and
    task. ``additional_log_standard_attrs`` names attributes of ``logging.LogRecord`` to add.

    Raises ValueError for another encoding, and for what is no attribute of records.
    """

    encoding: str = "TEXT"
    log_level: str = "INFO"
    additional_log_standard_attrs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.encoding not in _ENCODINGS:
            raise ValueError(
                f"Invalid encoding type: {self.encoding}. Valid encoding types are: "
                f"{list(_ENCODINGS)}"
            )
        for name in self.additional_log_standard_attrs:
            if name not in _ATTRIBUTES:
                raise ValueError(
                    f"Unknown python logging standard attribute: {name}. "
                    f"The valid attributes are: {sorted(_ATTRIBUTES)}"
                )

    def to_dict(self) -> dict[str, Any]:
        """The settings by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> LoggingConfig:
        """The opposite of :meth:`to_dict`. Raises TypeError for unknown names."""
        return cls(**d)


def apply(config: LoggingConfig) -> None:
    """Set up the root logger of this process: one handler, writing to the standard error."""
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(_formatter(config))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.log_level)


def apply_json(text: str) -> None:
    """The same for a configuration that :data:`VARIABLE` carries."""
    apply(LoggingConfig.from_dict(json.loads(text)))


def _formatter(config: LoggingConfig) -> logging.Formatter:
    import logging

    class Formatter(logging.Formatter):
        """Adds ids and attributes to each record."""

        def format(self, record: logging.LogRecord) -> str:
            added = {name: getattr(record, name, None) for name in asked}
            for name, value in record.__dict__.items():
                if name not in _ATTRIBUTES:
                    added[name] = value
            added.update(_context())
            added["timestamp_ns"] = int(record.created * 1e9)
            if config.encoding == "TEXT":
                return " ".join((super().format(record), *(f"{k}={v}" for k, v in added.items())))
            fields: dict[str, Any] = {
                "asctime": self.formatTime(record),
                "levelname": record.levelname,
                "message": record.getMessage(),
                "filename": record.filename,
                "lineno": record.lineno,
                "process": record.process,
            }
            if record.exc_info:
                fields["exc_text"] = self.formatException(record.exc_info)
            return json.dumps({**fields, **added}, default=str)

    asked = tuple(config.additional_log_standard_attrs)
    return Formatter("%(asctime)s\t%(levelname)s %(filename)s:%(lineno)s -- %(message)s")


def _context() -> dict[str, str]:
    """Who writes: ids in hexadecimal, and names, of what there is at the moment."""
    from whipray import _core, _session

    if not _session.current.role:
        return {}
    context = _core.context()
    actor = _session.current.info.get("actor")
    found = {
        "job_id": context["job_id"].hex(),
        "worker_id": context["worker_id"].hex(),
        "node_id": context["node_id"].hex(),
        "actor_id": context["actor_id"].hex() if context["actor_id"] else "",
        "task_id": context["task_id"].hex() if context["task_id"] else "",
        "task_name": context["task_name"],
        "task_func_name": _function_name() if context["task_id"] else "",
        "actor_name": actor["name"] if actor else "",
    }
    return {name: value for name, value in found.items() if value}


def _function_name() -> str:
    from whipray.runtime_context import get_runtime_context

    return get_runtime_context().get_task_function_name() or ""
