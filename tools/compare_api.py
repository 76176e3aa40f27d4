"""Compare the names and signatures of the installed package with those of Ray.

    python tools/compare_api.py [--module ray.util] [--strict]

`tools/facts/ray-2.60.json` has the public names of Ray's modules: their kinds, parameters with
defaults, and members of classes. Printed is, for each module, how many names are there and how many
signatures are the same, then every deviation: `missing` (no such name) or `differs` (with both
sides). With `--strict` the status is 1 when a deviation is not mentioned in
`docs/reference/compatibility.md` by its name in code quotes (`ray.util.connect`, or `ray.util` for
all of a module or class). Reasons in that document's table of names that no deviation needs any
more are listed at the end.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

ROOT = Path(__file__).resolve().parent.parent
FACTS = ROOT / "tools" / "facts" / "ray-2.60.json"
REASONS = ROOT / "docs" / "reference" / "compatibility.md"
QUOTED_NAME = re.compile(r"`(ray(?:\.\w+)+)`")
ABSENT = object()


@dataclass(frozen=True)
class Deviation:
    """One difference: the full name in Ray, and what is wrong with ours."""

    name: str
    what: str
    is_missing: bool


@dataclass
class ModuleReport:
    """What came out for one module; signatures are those of functions, constructors, methods."""

    module: str
    names: int
    signatures: int
    deviations: list[Deviation]

    @property
    def missing(self) -> int:
        return sum(deviation.is_missing for deviation in self.deviations)

    @property
    def different(self) -> int:
        return len(self.deviations) - self.missing


def parameters_of(target: Any) -> str | None:
    """Names and defaults as the facts write them; None where Python cannot tell."""
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return None
    parts: list[str] = []
    keyword_only = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            parts.append(f"**{parameter.name}")
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            keyword_only = True
            parts.append(f"*{parameter.name}")
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            parts.append("*")
        has_default = parameter.default is not parameter.empty
        parts.append(f"{parameter.name}={parameter.default!r}" if has_default else parameter.name)
    return ", ".join(parts)


def normalized(parameters: str) -> str:
    """Without what two spellings of the same signature differ in."""
    parameters = re.sub(r", /|/, |, $", "", parameters)
    return re.sub(r"<[^<>]*(?:<[^<>]*>)*[^<>]*>", "<object>", parameters)


def is_private_tail(ours: str, theirs: str) -> bool:
    """Whether ours is theirs without parameters that begin with an underscore."""
    kept = [part for part in theirs.split(", ") if not part.startswith("_")]
    if kept and kept[-1] == "*":
        kept.pop()
    return ours == ", ".join(kept)


def compare_signature(name: str, target: Any, theirs: str) -> Deviation | None:
    ours = parameters_of(target)
    if ours is None:
        return Deviation(name, f"has no signature; Ray's is ({theirs})", False)
    ours, theirs = normalized(ours), normalized(theirs)
    # A default that has no text in the facts may be anything.
    pattern = re.escape(theirs).replace("<object>", ".*")
    if re.fullmatch(pattern, ours) or is_private_tail(ours, theirs):
        return None
    return Deviation(name, f"({ours}) instead of ({theirs})", False)


def compare_members(name: str, target: type, members: dict[str, str]) -> Iterator[Deviation | None]:
    """One item for each member of a class; None for those that match."""
    for member, fact in members.items():
        full_name = f"{name}.{member}"
        found = inspect.getattr_static(target, member, ABSENT)
        annotated = any(member in getattr(base, "__annotations__", {}) for base in target.__mro__)
        if found is ABSENT and not annotated:
            yield Deviation(full_name, "missing", True)
            continue
        kind, _, parameters = fact.partition("(")
        if not parameters or found is ABSENT:
            yield None
            continue
        bound = getattr(target, member, found)
        is_function = inspect.isfunction(found) or inspect.ismethoddescriptor(found)
        if kind == "method" and is_function and not isinstance(found, (classmethod, staticmethod)):
            yield compare_signature(full_name, bound, f"self, {parameters[:-1]}")
        else:
            yield compare_signature(full_name, bound, parameters[:-1])


def compare_name(name: str, found: Any, fact: dict[str, Any]) -> Iterator[Deviation | None]:
    """One item for each signature and member of a name that is there; None for matches."""
    kind = fact["kind"]
    is_kind = {
        "class": inspect.isclass(found),
        "function": callable(found),
        "module": inspect.ismodule(found),
    }
    if not is_kind.get(kind, True):
        yield Deviation(name, f"is a {type(found).__name__} instead of a {kind}", False)
        return
    if "value" in fact and repr(found) != fact["value"]:
        yield Deviation(name, f"is {found!r} instead of {fact['value']}", False)
    if "parameters" in fact and not (kind == "class" and fact["parameters"] == "*args, **kwargs"):
        yield compare_signature(name, found, fact["parameters"])
    if kind == "class":
        yield from compare_members(name, found, fact.get("members", {}))


def compare_module(name: str, facts: dict[str, dict[str, Any]]) -> ModuleReport:
    """Compare one module; a module that does not exist lacks all of its names."""
    report = ModuleReport(name, len(facts), 0, [])
    own_name = "whipray" + name[len("ray") :]
    try:
        module = importlib.import_module(own_name)
    except ModuleNotFoundError:
        report.deviations = [Deviation(f"{name}.{item}", "missing", True) for item in facts]
        return report
    for item, fact in facts.items():
        found = getattr(module, item, ABSENT)
        if found is ABSENT and fact["kind"] == "module":
            try:
                found = importlib.import_module(f"{own_name}.{item}")
            except ModuleNotFoundError:
                pass
        if found is ABSENT:
            report.deviations.append(Deviation(f"{name}.{item}", "missing", True))
            continue
        for deviation in compare_name(f"{name}.{item}", found, fact):
            report.signatures += 1
            if deviation is not None:
                report.deviations.append(deviation)
    return report


def has_reason(name: str, documented: set[str]) -> bool:
    """Whether the name, or something that contains it, is mentioned."""
    return any(is_within(name, container) for container in documented)


def reasons_without_use(deviating: set[str]) -> list[str]:
    """Names in the table of deviating names that match no deviation."""
    _, _, table = REASONS.read_text().partition("## Names that differ")
    named = QUOTED_NAME.findall(table)
    return [name for name in named if not any(is_within(found, name) for found in deviating)]


def is_within(name: str, container: str) -> bool:
    return name == container or name.startswith(f"{container}.")


def main() -> int:
    parser = argparse.ArgumentParser(description="compare the package's names with Ray's")
    parser.add_argument("--module", help="only this module, by its name in Ray")
    parser.add_argument("--strict", action="store_true", help="fail for what has no reason")
    arguments = parser.parse_args()
    facts = json.loads(FACTS.read_text())
    documented = set(QUOTED_NAME.findall(REASONS.read_text()))
    unexplained = 0
    deviating: set[str] = set()
    for module, names in facts.items():
        if arguments.module not in (None, module):
            continue
        report = compare_module(module, names)
        print(
            f"{module}: {report.names} names, {report.missing} missing (with members); "
            f"{report.signatures} signatures and members, {report.different} different"
        )
        for deviation in report.deviations:
            deviating.add(deviation.name)
            reason = has_reason(deviation.name, documented)
            unexplained += not reason
            print(f"  {'explained' if reason else 'NO REASON'}  {deviation.name}: {deviation.what}")
    if arguments.module is None:
        for name in reasons_without_use(deviating):
            print(f"{name} deviates no more: its line in {REASONS.relative_to(ROOT)} can go")
    print(f"{unexplained} deviations without a reason in {REASONS.relative_to(ROOT)}")
    return 1 if arguments.strict and unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
