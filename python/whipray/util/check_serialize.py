"""Why a value cannot be pickled."""

from __future__ import annotations

from typing import Any

from whipray import _unserializable

__all__ = ["FailureTuple", "inspect_serializability"]


class FailureTuple:
    """A part that cannot be pickled: the part, the ``path`` of names that leads to it, and what
    contains it (None for the whole value)."""

    def __init__(self, obj: Any, path: tuple[str, ...], parent: Any) -> None:
        self.obj = obj
        self.path = path
        self.parent = parent

    @property
    def name(self) -> str:
        """The last step of the path."""
        return self.path[-1] if self.path else "unknown"

    def __repr__(self) -> str:
        path = " -> ".join(self.path)
        return f"FailTuple({self.name} [path={path}, obj={self.obj}, parent={self.parent}])"


def inspect_serializability(
    base_obj: Any, name: str | None = None, depth: int = 3, print_file: Any = None
) -> tuple[bool, set[FailureTuple]]:
    """Whether a value can be pickled; where not, the innermost part that is in the way.

    Prints what it found to ``print_file`` (the standard output by default). ``name`` is what the
    value is called there. ``depth`` is the number of levels to descend; 0 looks at the whole alone.
    """
    say = _Printer(print_file)
    headline = f"Checking Serializability of {base_obj}"
    line = "=" * min(len(headline), 80)
    say(line, headline, line)
    root = name or getattr(base_obj, "__qualname__", None) or ""
    culprit = _unserializable.find(base_obj, root, depth, say.step)
    if culprit is None:
        return True, set()
    steps = tuple(step for step in culprit.steps if step)
    failure = FailureTuple(culprit.value, steps, culprit.parent)
    say(
        line,
        "Variable:",
        "",
        f"\t{failure}",
        "",
        "was found to be non-serializable. There may be others that were not looked at.",
        "Make it where it is used, leave it out of what is captured or passed, or teach its class",
        "to be pickled (__reduce__).",
        line,
    )
    return False, {failure}


class _Printer:
    """Writes lines, those of the search indented by how deep it is."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __call__(self, *lines: str) -> None:
        for line in lines:
            print(line, file=self._file)

    def step(self, level: int, name: str, value: Any, error: BaseException | None) -> None:
        """One part was tried."""
        indent = "    " * level
        if level:
            self(f"{indent}Serializing {name!r} {value}...")
        if error is not None:
            self(f"{indent}!!! FAIL serialization: {error}")
