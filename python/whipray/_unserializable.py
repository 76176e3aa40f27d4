"""Finds what inside of a value cannot be pickled, and says where it lies."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from pickle import PicklingError
from typing import Any, Optional

_DEEPEST = 32
_MOST_ELEMENTS = 10_000
_LONGEST_REPR = 200

Observer = Callable[[int, str, Any, Optional[BaseException]], None]
"""Is told of a part: how deep it lies, its name, itself, and why it cannot be pickled, if so."""


class Culprit:
    """A part that cannot be pickled although all of its own parts can, or that has none."""

    def __init__(
        self, path: str, steps: tuple[str, ...], value: Any, parent: Any, error: BaseException
    ) -> None:
        """``path`` leads from the whole value to the part; ``steps`` are the bare names on it."""
        self.path = path
        self.steps = steps
        self.parent = parent
        self.value = value
        self.error = error

    def __str__(self) -> str:
        kind = type(self.value)
        return f"{self.path} (a {kind.__module__}.{kind.__qualname__}): {self.error}"


def value_not_serializable(error: BaseException, value: Any, role: str, name: str) -> BaseException:
    """The TypeError to raise for an argument or a put value; other errors go on as they are."""
    if not _is_about_pickling(error):
        return error
    whose = f" for a task or actor {name}" if role == "argument" and name else ""
    return _explained(
        f"Could not serialize the {role} {_short(value)}{whose}:", value, "value", error
    )


def definition_not_serializable(
    target: Any, error: BaseException, kind: str, name: str
) -> BaseException:
    """The same for a function or a class (``kind`` is ``function`` or ``actor class``)."""
    if not _is_about_pickling(error):
        return error
    return _explained(f"Could not serialize the {kind} {name}:", target, name, error)


def _is_about_pickling(error: BaseException) -> bool:
    return isinstance(error, (TypeError, PicklingError, AttributeError, RecursionError))


def _explained(headline: str, value: Any, root: str, error: BaseException) -> TypeError:
    lines = [headline]
    culprit = find(value, root)
    if culprit is None:
        lines.append(f"  {error}")
    else:
        lines.append(f"  {culprit}")
    lines.append(
        "Make it where it is used, leave it out of what is captured or passed, or teach its class "
        "to be pickled (__reduce__)."
    )
    explained = TypeError("\n".join(lines))
    explained.__cause__ = error
    return explained


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST_REPR else text[: _LONGEST_REPR - 3] + "..."


def failure_of(value: Any) -> BaseException | None:
    """What pickling this value raises; None where it can be pickled."""
    from whipray._serialization import dumps

    try:
        dumps(value)
    except Exception as error:
        return error
    return None


def find(
    value: Any, root: str, deepest: int = _DEEPEST, observe: Observer | None = None
) -> Culprit | None:
    """The innermost part that cannot be pickled, up to so many levels deep; None where the whole
    can.

    ``root`` is what the path calls the whole value. ``observe`` is told of each part that is tried.
    """
    error = failure_of(value)
    if observe is not None:
        observe(0, root, value, error)
    if error is None:
        return None
    culprit = Culprit(root, (root,), value, None, error)
    seen = {id(value)}
    for level in range(1, deepest + 1):
        inner = _failing_part(culprit, seen, level, observe)
        if inner is None:
            break
        culprit = inner
    return culprit


def _failing_part(
    whole: Culprit, seen: set[int], level: int, observe: Observer | None
) -> Culprit | None:
    has_own_form = _has_own_form(whole.value)
    for step, part in parts(whole.value):
        if id(part) in seen:
            continue
        error = failure_of(part)
        if has_own_form and str(error) != str(whole.error):
            continue  # Whatever the part is, it is not pickled with the whole.
        name = step.rpartition(" variable ")[2].lstrip(".")
        if observe is not None:
            observe(level, name, part, error)
        if error is not None:
            seen.add(id(part))
            path = whole.path + (step if step[0] in "[." else f", {step}")
            return Culprit(path, (*whole.steps, name), part, whole.value, error)
    return None


def _has_own_form(value: Any) -> bool:
    """Whether the class says itself how values are pickled, or that they cannot be."""
    forms = {"__reduce__", "__reduce_ex__"}
    return any(forms & vars(kind).keys() for kind in type(value).__mro__ if kind is not object)


def parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What a value consists of, each part with the step that leads to it."""
    if isinstance(value, dict):
        for number, (key, item) in enumerate(value.items()):
            if number == _MOST_ELEMENTS:
                break
            yield f"[{_short(key)}]", item
            yield f"key {_short(key)}", key
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value[:_MOST_ELEMENTS]):
            yield f"[{number}]", item
    elif isinstance(value, (set, frozenset)):
        for item in list(value)[:_MOST_ELEMENTS]:
            yield f"element {_short(item)}", item
    elif isinstance(value, types.FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
        yield ".__func__", value.__func__
    elif isinstance(value, type):
        for name, item in vars(value).items():
            if not name.startswith("__") or isinstance(item, types.FunctionType):
                yield f".{name}", item
    else:
        yield from _parts_of_object(value)


def _parts_of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or ()):
        try:
            yield f"captured variable {name}", cell.cell_contents
        except ValueError:
            continue  # Not assigned yet.
    for name in _global_names(code):
        if name in function.__globals__:
            yield f"global variable {name}", function.__globals__[name]
    for number, default in enumerate(function.__defaults__ or ()):
        yield f".__defaults__[{number}]", default
    for name, default in (function.__kwdefaults__ or {}).items():
        yield f"default of {name}", default


def _global_names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _global_names(constant)


def _parts_of_object(value: Any) -> Iterator[tuple[str, Any]]:
    import functools

    if isinstance(value, functools.partial):
        yield ".func", value.func
        yield ".args", value.args
        yield ".keywords", value.keywords
    for name, item in getattr(value, "__dict__", {}).items():
        yield f".{name}", item
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                yield f".{name}", getattr(value, name)
