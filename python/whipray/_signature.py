"""The shape of calls that a function takes, small enough to travel with an actor's handle.

``inspect`` is not asked for plain functions: importing it would cost more than everything else that
a decoration does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_VARARGS = 0x04
_VARKEYWORDS = 0x08


class Signature:
    """Names of parameters by kind, and which of them have defaults."""

    __slots__ = (
        "any_keyword",
        "any_positional",
        "defaults",
        "keyword_only",
        "names",
        "positional_only",
    )

    def __init__(
        self,
        names: tuple[str, ...],
        positional_only: int,
        defaults: int,
        keyword_only: tuple[tuple[str, bool], ...],
        any_positional: bool,
        any_keyword: bool,
    ) -> None:
        """``names`` are positional parameters, the last ``defaults`` of them with a default;
        ``keyword_only`` pairs names with whether they have one."""
        self.names = names
        self.positional_only = positional_only
        self.defaults = defaults
        self.keyword_only = keyword_only
        self.any_positional = any_positional
        self.any_keyword = any_keyword

    def __reduce__(self) -> tuple[Any, ...]:
        return Signature, (
            self.names,
            self.positional_only,
            self.defaults,
            self.keyword_only,
            self.any_positional,
            self.any_keyword,
        )

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise the TypeError of a call that does not fit."""
        names = self.names
        given = len(args)
        unknown = dict(kwargs)
        first_default = len(names) - self.defaults
        for index, name in enumerate(names):
            by_keyword = name in unknown and index >= self.positional_only
            if index < given:
                if by_keyword:
                    raise TypeError(f"multiple values for argument {name!r}")
            elif by_keyword:
                del unknown[name]
            elif index < first_default:
                if name in unknown and not self.any_keyword:
                    raise TypeError(
                        f"{name!r} parameter is positional only, but was passed as a keyword"
                    )
                raise TypeError(f"missing a required argument: {name!r}")
        if given > len(names) and not self.any_positional:
            raise TypeError("too many positional arguments")
        for name, has_default in self.keyword_only:
            if name in unknown:
                del unknown[name]
            elif not has_default:
                raise TypeError(f"missing a required argument: {name!r}")
        if unknown and not self.any_keyword:
            raise TypeError(f"got an unexpected keyword argument {next(iter(unknown))!r}")


ANYTHING = Signature((), 0, 0, (), True, True)
"""Of a callable that does not tell its parameters."""


def of(function: Callable[..., Any]) -> Signature:
    """The signature of a function; that of what it wraps, as ``inspect.signature`` has it."""
    code = getattr(function, "__code__", None)
    attributes = getattr(function, "__dict__", {})
    if code is None or "__wrapped__" in attributes or "__signature__" in attributes:
        return _inspected(function)
    names = code.co_varnames
    positional = code.co_argcount
    keyword_defaults = function.__kwdefaults__ or {}
    return Signature(
        names[:positional],
        code.co_posonlyargcount,
        len(function.__defaults__ or ()),
        tuple(
            (name, name in keyword_defaults)
            for name in names[positional : positional + code.co_kwonlyargcount]
        ),
        bool(code.co_flags & _VARARGS),
        bool(code.co_flags & _VARKEYWORDS),
    )


def _inspected(function: Callable[..., Any]) -> Signature:
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ANYTHING
    kinds = inspect.Parameter
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return Signature(
        tuple(p.name for p in positional),
        sum(p.kind is p.POSITIONAL_ONLY for p in positional),
        sum(p.default is not p.empty for p in positional),
        tuple((p.name, p.default is not p.empty) for p in parameters if p.kind is p.KEYWORD_ONLY),
        any(p.kind is kinds.VAR_POSITIONAL for p in parameters),
        any(p.kind is kinds.VAR_KEYWORD for p in parameters),
    )


def without_first(signature: Signature) -> Signature:
    """The signature of a method whose first parameter (``self``) is already bound."""
    if not signature.names:
        return signature  # ``def method(*args)`` takes it among the others.
    return Signature(
        signature.names[1:],
        max(0, signature.positional_only - 1),
        min(signature.defaults, len(signature.names) - 1),
        signature.keyword_only,
        signature.any_positional,
        signature.any_keyword,
    )
