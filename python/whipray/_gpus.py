"""The GPUs of a task or actor: from their indexes on the node to the names that programs use."""

from __future__ import annotations

import os

VARIABLE = "CUDA_VISIBLE_DEVICES"

_is_kept = False
_before: str | None = None


def keep_environment() -> None:
    """Note what a worker sees before it is given something."""
    global _before, _is_kept
    _before, _is_kept = os.environ.get(VARIABLE), True


def visible() -> list[str] | None:
    """The GPUs that are to be used at all, by index or UUID; None for those of the machine."""
    named = _before if _is_kept else os.environ.get(VARIABLE)
    if named is None:
        return None
    return [name.strip() for name in named.split(",") if name.strip()]


def names_of(indexes: list[int]) -> list[int] | list[str]:
    """What the GPUs of these indexes are called: as they were named, else their indexes."""
    names = visible()
    if names is None:
        return indexes
    return [names[index] if index < len(names) else str(index) for index in indexes]


def show(indexes: list[int]) -> None:
    """Have libraries see these alone; what they saw before where there are none."""
    if indexes:
        os.environ[VARIABLE] = ",".join(map(str, names_of(indexes)))
    elif _before is None:
        os.environ.pop(VARIABLE, None)
    else:
        os.environ[VARIABLE] = _before
