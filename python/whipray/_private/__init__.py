"""Names that programs use although Ray does not document them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = ("internal_api", "services", "state", "worker")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
