"""Labels of nodes: what they may be called, and the text in which options select by them."""

from __future__ import annotations

import re
from typing import Any

Term = tuple[str, int, list[str]]
"""A condition as the core takes it: the label, the operator, the values."""

IN, NOT_IN, EXISTS, DOES_NOT_EXIST = range(4)

_PART = r"[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
_NAME = re.compile(_PART)
_PREFIX = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?")
_VALUE = re.compile(f"!?({_PART})?")
_SEVERAL = re.compile(rf"!?in\(\s*{_PART}\s*(,\s*{_PART}\s*)*\)")
_RULE = (
    "must be 63 chars or less beginning and ending with an alphanumeric character ([a-z0-9A-Z]) "
    "with dashes (-), underscores (_),dots (.), and alphanumerics between."
)


def check_key(key: Any) -> None:
    """Raises ValueError for a text that no label is called, TypeError for what is no text."""
    if not isinstance(key, str):
        raise TypeError(f"the name of a label must be a string, not {key!r}")
    prefix, slash, name = key.rpartition("/")
    if slash and not _PREFIX.fullmatch(prefix):
        raise ValueError(
            f"Invalid label key prefix `{prefix}`. Prefix must be a series of DNS labels separated "
            "by dots (.), not longer than 253 characters in total."
        )
    if not _NAME.fullmatch(name):
        raise ValueError(f"Invalid label key name `{name}`. Name {_RULE}")


def check_selector(selector: Any) -> None:
    """Raises ValueError and TypeError for a selector that cannot be read."""
    for key, value in selector.items():
        check_key(key)
        if not isinstance(value, str):
            raise TypeError(f"the selector of label {key} must be a string, not {value!r}")
        if not _VALUE.fullmatch(value) and not _SEVERAL.fullmatch(value):
            raise ValueError(
                f"Invalid label selector value `{value}`. The label selector value should contain "
                "optional operators and a label value. Supported operators are: ! and {'in'}. "
                f"Value {_RULE}"
            )


def check_labels(labels: dict[Any, Any]) -> None:
    """Raises ValueError and TypeError for labels that a node cannot be given."""
    for key, value in labels.items():
        check_key(key)
        if not isinstance(value, str):
            raise TypeError(f"the value of label {key} must be a string, not {value!r}")
        if value and not _NAME.fullmatch(value):
            raise ValueError(f"Invalid label key value `{value}`. Value {_RULE}")


def terms_of(selector: dict[str, str]) -> list[Term]:
    """The conditions of a checked selector.

    ``"a"`` is one value, ``"!a"`` all others, ``"in(a,b)"`` and ``"!in(a,b)"`` several.
    """
    terms: list[Term] = []
    for key, text in selector.items():
        operator = NOT_IN if text.startswith("!") else IN
        value = text.removeprefix("!")
        values = [value]
        if value.startswith("in(") and value.endswith(")"):
            values = [part.strip() for part in value[3:-1].split(",")]
        terms.append((key, operator, values))
    return terms
