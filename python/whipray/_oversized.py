"""Values that travel by accident: found by name and size, and reported once.

A definition carries the values that it closes over, and every call carries its arguments. Both are
meant for small things. Nothing here runs unless something large was met.
"""

from __future__ import annotations

import os
import sys
import types
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

WARN_BYTES = 1024 * 1024
"""Definitions above this size, and arguments that are passed again and again, are reported."""

_REFUSE_BYTES = int(os.environ.get("FUNCTION_SIZE_ERROR_THRESHOLD", 10**8))
_MIB = 1024 * 1024
_TINY_BYTES = 64 * 1024
_REPEATS = 3
_REMEMBERED = 64
_DEEPEST = 4
_NAMED_AT_MOST = 3


@dataclass(frozen=True)
class Captured:
    """A value that a definition carries: what it is called there, its type and its size."""

    name: str
    where: str
    kind: str
    size_bytes: int

    def __str__(self) -> str:
        return f"{self.name!r} ({self.where}, a {self.kind} of {_amount(self.size_bytes)})"


def check_definition(target: Any, pickled: bytes, kind: str, name: str) -> None:
    """Warn of a definition above 1 MiB, naming what makes it so large.

    Raises ValueError for one above ``FUNCTION_SIZE_ERROR_THRESHOLD`` bytes (95 MiB).
    """
    if len(pickled) <= WARN_BYTES:
        return
    found = captured(target)[:_NAMED_AT_MOST]
    culprits = ", and ".join(map(str, found)) or "values in its definition"
    verb = "carry" if len(found) > 1 else "carries"
    first = found[0].name if found else "value"
    if len(pickled) >= _REFUSE_BYTES:
        raise ValueError(
            f"The {kind} {name} is too large ({len(pickled) // _MIB} MiB > "
            f"FUNCTION_SIZE_ERROR_THRESHOLD={_REFUSE_BYTES // _MIB} MiB): it {verb} {culprits}. "
            f"{_advice(first)}"
        )
    show(
        f"The {kind} {name} has {_amount(len(pickled))}, which every worker that runs it loads: "
        f"it carries {culprits}. {_advice(first)}"
    )


def _advice(name: str) -> str:
    short = name.rpartition(".")[2]
    return (
        f"Put it into the object store once, `{short}_ref = ray.put({short})`, and pass "
        f"{short}_ref as an argument."
    )


def captured(target: Any) -> list[Captured]:
    """What a function or class carries by value, the largest first; without what is tiny."""
    found = {id(value): (label, where, value) for label, where, value in _parts(target, 0, set())}
    sized = (
        Captured(label, where, _kind(value), _size(value)) for label, where, value in found.values()
    )
    large = [part for part in sized if part.size_bytes > _TINY_BYTES]
    return sorted(large, key=lambda part: part.size_bytes, reverse=True)


def _parts(target: Any, depth: int, seen: set[int]) -> Iterator[tuple[str, str, Any]]:
    if id(target) in seen or depth > _DEEPEST:
        return
    seen.add(id(target))
    if isinstance(target, (staticmethod, classmethod)):
        target = target.__func__
    if isinstance(target, property):
        for accessor in (target.fget, target.fset, target.fdel):
            yield from _parts(accessor, depth + 1, seen)
    elif isinstance(target, type):
        for name, value in vars(target).items():
            if isinstance(value, types.GetSetDescriptorType):
                continue  # Belongs to every class, and drags the class itself along.
            where = f"an attribute of {target.__qualname__}"
            yield from _part(name, where, value, depth, seen)
        for base in target.__bases__:
            yield from _part(base.__name__, "a base class", base, depth, seen)
    elif isinstance(target, types.FunctionType):
        yield from _parts_of_function(target, depth, seen)


def _parts_of_function(
    function: types.FunctionType, depth: int, seen: set[int]
) -> Iterator[tuple[str, str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            value = cell.cell_contents
        except ValueError:
            continue  # Not assigned yet.
        yield from _part(name, f"a variable around {function.__name__}", value, depth, seen)
    for name in _global_names(function.__code__):
        if name in function.__globals__:
            where = f"a global variable that {function.__name__} uses"
            yield from _part(name, where, function.__globals__[name], depth, seen)
    defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    for value in defaults:
        yield from _part(function.__name__, "one of its defaults", value, depth, seen)


def _part(
    name: str, where: str, value: Any, depth: int, seen: set[int]
) -> Iterator[tuple[str, str, Any]]:
    if isinstance(value, (types.FunctionType, type, staticmethod, classmethod, property)):
        # One that can be imported travels as its name, whatever it refers to.
        if isinstance(value, property) or _size(getattr(value, "__func__", value)) > _TINY_BYTES:
            yield from _parts(value, depth + 1, seen)
    elif not isinstance(value, (types.ModuleType, int, float, type(None))):
        yield name, where, value


def _global_names(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _global_names(constant)
    return names


def _size(value: Any) -> int:
    from whipray._serialization import dumps

    try:
        return len(dumps(value))
    except Exception:
        return 0  # Not what travelled: the definition as a whole was pickled.


def _kind(value: Any) -> str:
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"


def _amount(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:.1f} MiB"


@dataclass
class _Passed:
    """How often one value was passed by value."""

    same: weakref.ref[Any] | tuple[int, Any]
    count: int


_passed: OrderedDict[tuple[int, type], _Passed] = OrderedDict()
_reported: set[tuple[str, str]] = set()


def note_argument(value: Any, size_bytes: int, task: str, place: str) -> None:
    """Count an argument above 1 MiB; warn once where the same one is passed again and again.

    ``task`` is what it was passed to, ``place`` the number or the keyword of the argument.
    """
    key = (id(value), type(value))
    mark = _mark(value, size_bytes)
    known = _passed.get(key)
    if known is None or not _is_same(known.same, value, mark):
        known = _passed[key] = _Passed(mark, 0)
    known.count += 1
    _passed.move_to_end(key)
    if len(_passed) > _REMEMBERED:
        _passed.popitem(last=False)
    if known.count < _REPEATS:
        return
    name = _name_in_caller(value)
    if (task, name or place) in _reported:
        return
    _reported.add((task, name or place))
    described = repr(name) if name else f"argument {place}"
    show(
        f"The same {described} (a {_kind(value)} of {_amount(size_bytes)}) was passed by value to "
        f"{task} {known.count} times, and copied each time. {_advice(name or 'value')}"
    )


def _mark(value: Any, size_bytes: int) -> weakref.ref[Any] | tuple[int, Any]:
    """What tells a value from a later one at the same address."""
    try:
        return weakref.ref(value)
    except TypeError:
        ends = (value[:1], value[-1:]) if isinstance(value, (bytes, str, bytearray)) else None
        return size_bytes, ends


def _is_same(
    known: weakref.ref[Any] | tuple[int, Any], value: Any, mark: weakref.ref[Any] | tuple[int, Any]
) -> bool:
    return known() is value if isinstance(known, weakref.ref) else known == mark


def _name_in_caller(value: Any) -> str | None:
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("whipray"):
        frame = frame.f_back
    if frame is None:
        return None
    for names in (frame.f_locals, frame.f_globals):
        for name, bound in list(names.items()):
            if bound is value and not name.startswith("__"):
                return name
    return None


def show(text: str) -> None:
    """A warning on standard error: the driver's, to which that of its workers goes as well."""
    from whipray._events import show_warning

    show_warning(text)
