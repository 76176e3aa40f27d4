"""The languages in which remote code can be written."""

from __future__ import annotations

import enum


class Language(enum.Enum):
    """The language of a function or an actor. Python is the one that there is."""

    PYTHON = 0

    def __repr__(self) -> str:
        return self.name

    __str__ = __repr__
