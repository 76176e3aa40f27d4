"""Marks on names of a public interface: how much their users may rely on them."""

from __future__ import annotations

import enum
import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = [
    "AnnotationType",
    "Deprecated",
    "DeveloperAPI",
    "PublicAPI",
    "RayDeprecationWarning",
]

F = TypeVar("F")


class AnnotationType(enum.Enum):
    """The kinds of marks."""

    PUBLIC_API = "PublicAPI"
    DEVELOPER_API = "DeveloperAPI"
    DEPRECATED = "Deprecated"
    UNKNOWN = "Unknown"


class RayDeprecationWarning(DeprecationWarning):
    """Says that a name will go; unlike its base it is shown by default."""


warnings.filterwarnings("module", category=RayDeprecationWarning)


def PublicAPI(*args: Any, **kwargs: Any) -> Any:
    """Mark for users: ``@PublicAPI`` or ``@PublicAPI(stability="alpha", api_group=...)``.

    Raises AssertionError for a stability other than ``stable``, ``beta`` and ``alpha``.
    """
    if _is_bare(args, kwargs):
        return PublicAPI(stability="stable", api_group="Others")(args[0])
    stability = kwargs.get("stability", "stable")
    assert stability in ("stable", "beta", "alpha"), stability
    group = kwargs.get("api_group", "Others")

    def wrap(target: F) -> F:
        if stability != "stable":
            _append(target, f"**PublicAPI ({stability}):** may change before it is stable.")
        return _mark(target, AnnotationType.PUBLIC_API, group)

    return wrap


def DeveloperAPI(*args: Any, **kwargs: Any) -> Any:
    """Mark for authors of libraries: ``@DeveloperAPI`` or ``@DeveloperAPI()``."""
    if _is_bare(args, kwargs):
        return DeveloperAPI()(args[0])

    def wrap(target: F) -> F:
        _append(target, "**DeveloperAPI:** may change between minor releases.")
        return _mark(target, AnnotationType.DEVELOPER_API, None)

    return wrap


def Deprecated(*args: Any, **kwargs: Any) -> Any:
    """Mark what will go: ``@Deprecated`` or ``@Deprecated(message="...", warning=True)``.

    ``warning`` has every use say so with a :class:`RayDeprecationWarning`. Raises ValueError for
    other keywords.
    """
    if _is_bare(args, kwargs):
        return Deprecated()(args[0])
    unknown = sorted(set(kwargs) - {"message", "warning"})
    if unknown:
        raise ValueError(f"Unknown arguments of Deprecated: {unknown}")
    message = kwargs.get("message") or "It may be removed in a future release."

    def wrap(target: Any) -> Any:
        _append(target, f"**DEPRECATED:** {message}")
        marked = _mark(target, AnnotationType.DEPRECATED, None)
        return _warning(marked, message) if kwargs.get("warning") else marked

    return wrap


def _is_bare(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return len(args) == 1 and not kwargs and callable(args[0])


def _mark(target: F, kind: AnnotationType, group: str | None) -> F:
    marked: Any = target
    marked._annotated = getattr(target, "__name__", None)
    marked._annotated_type = kind
    if group is not None:
        marked._annotated_api_group = group
    return target


def _append(target: Any, text: str) -> None:
    before = inspect.cleandoc(target.__doc__ or "")
    target.__doc__ = f"{before}\n\n{text}" if before else text


def _warning(target: Any, message: str) -> Any:
    text = f"{getattr(target, '__name__', target)} is deprecated: {message}"
    if isinstance(target, type):
        kind: Any = target
        kind.__init__ = _calling(kind.__init__, text)
        return target
    return _calling(target, text)


def _calling(function: Callable[..., Any], text: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def warn_first(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(text, RayDeprecationWarning, stacklevel=2)
        return function(*args, **kwargs)

    return warn_first
