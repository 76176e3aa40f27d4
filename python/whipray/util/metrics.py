"""Counters, gauges and histograms of a program, which are read in Prometheus' format.

A metric is made in any process: a driver, a task, an actor. The values of all processes are read
at ``MetricsExportPort`` of ``nodes()``, each with the id of its process; names begin with ``ray_``,
and those of counters end with ``_total``.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

from whipray import _core

__all__ = ["Counter", "Gauge", "Histogram"]

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


class Metric:
    """What all metrics have in common: a name, a description, the keys of its tags."""

    _kind = ""

    def __init__(
        self, name: str, description: str = "", tag_keys: tuple[str, ...] | None = None
    ) -> None:
        """A metric of this name; one of a name that Prometheus does not allow is without effect.

        Raises ValueError for an empty name, TypeError for keys that are no tuple of texts.
        """
        if len(name) == 0:
            raise ValueError("Empty name is not allowed. Please provide a metric name.")
        self._name = name
        self._description = description
        self._tag_keys = _check_keys(tag_keys)
        self._default_tags: dict[str, str] = {}
        self._metric: _core.Metric | None = None
        if self._kind and _is_allowed(name):
            self._metric = _core.Metric(
                self._kind, name, description, list(self._tag_keys), self._bucket_ends()
            )

    def _bucket_ends(self) -> list[float]:
        return []

    def set_default_tags(self, default_tags: dict[str, str]) -> Any:
        """Values for tags that are not given with a value of the metric. Returns the metric.

        Raises ValueError for a key that the metric does not have, TypeError for what is no text.
        """
        for key, value in default_tags.items():
            if key not in self._tag_keys:
                raise ValueError(f"Unrecognized tag key {key}.")
            _check_tag(value)
        self._default_tags = dict(default_tags)
        return self

    @property
    def info(self) -> dict[str, Any]:
        """``name``, ``description``, ``tag_keys`` and ``default_tags``."""
        return {
            "name": self._name,
            "description": self._description,
            "tag_keys": self._tag_keys,
            "default_tags": self._default_tags,
        }

    def _record(self, value: float, tags: dict[str, str] | None) -> None:
        given = self._default_tags
        if tags:
            for tag in tags.values():
                _check_tag(tag)
            given = {**given, **tags} if given else tags
        for key in self._tag_keys:
            if key not in given:
                missing = ",".join(key for key in self._tag_keys if key not in given)
                raise ValueError(f"Missing value for tag key(s): {missing}.")
        if self._metric is not None:
            # Called as Ray calls its own, which some programs replace.
            self._metric.record(value, tags=given)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self._name, self._description, self._tag_keys))


class Counter(Metric):
    """A number that only grows: calls, errors, bytes."""

    _kind = "counter"

    def inc(self, value: int | float = 1.0, tags: dict[str, str] | None = None) -> None:
        """Add ``value``, which is above zero.

        Raises ValueError for one that is not, and where tags are missing; TypeError for what is no
        number, and for tags that are no texts.
        """
        _check_number(value)
        if value <= 0:
            raise ValueError(f"value must be >0, got {value}")
        self._record(value, tags)


class Gauge(Metric):
    """A number of which the last value counts: a size, a temperature."""

    _kind = "gauge"

    def set(self, value: int | float | None, tags: dict[str, str] | None = None) -> None:
        """Set the number; None changes nothing.

        Raises ValueError where tags are missing, TypeError for what is no number, and for tags that
        are no texts.
        """
        if value is None:
            return
        _check_number(value)
        self._record(value, tags)


class Histogram(Metric):
    """Values, of which it is counted how many are below each of some boundaries."""

    _kind = "histogram"

    def __init__(
        self,
        name: str,
        description: str = "",
        boundaries: Sequence[float] | None = None,
        tag_keys: tuple[str, ...] | None = None,
    ) -> None:
        """``boundaries`` are the upper ends of the buckets, above zero.

        Raises ValueError for an empty name or boundaries that are not there or not above zero,
        TypeError for keys that are no tuple of texts.
        """
        if boundaries is None or len(boundaries) == 0:
            raise ValueError(
                "boundaries argument should be provided when using the Histogram class. "
                'e.g., Histogram("name", boundaries=[1.0, 2.0])'
            )
        for index, boundary in enumerate(boundaries):
            if boundary <= 0:
                raise ValueError(
                    f"Invalid `boundaries` argument at index {index}, {boundaries}. "
                    "Use positive values for the arguments."
                )
        self.boundaries = boundaries
        super().__init__(name, description, tag_keys)

    def _bucket_ends(self) -> list[float]:
        return [float(boundary) for boundary in self.boundaries]

    def observe(self, value: int | float, tags: dict[str, str] | None = None) -> None:
        """Count a value.

        Raises ValueError where tags are missing, TypeError for what is no number, and for tags that
        are no texts.
        """
        _check_number(value)
        self._record(value, tags)

    @property
    def info(self) -> dict[str, Any]:
        """What other metrics say, and ``boundaries``."""
        return {**super().info, "boundaries": self.boundaries}

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self._name, self._description, self.boundaries, self._tag_keys))


def _is_allowed(name: str) -> bool:
    """Whether Prometheus takes the name; the user is told where it does not, or soon will not."""
    if not _NAME.fullmatch(name):
        warnings.warn(
            f"Invalid metric name: {name}. The metric is not published: its name may have letters, "
            "digits, _ and :, and does not begin with a digit.",
            UserWarning,
            stacklevel=4,
        )
        return False
    if ":" in name:
        warnings.warn(
            f"Metric name {name} contains a : character, which is kept for rules of Prometheus; "
            "choose another name.",
            FutureWarning,
            stacklevel=4,
        )
    return True


def _check_keys(tag_keys: Any) -> tuple[str, ...]:
    keys = () if tag_keys is None else tag_keys
    if not isinstance(keys, tuple):
        raise TypeError(f"tag_keys should be a tuple type, got: {type(keys)}")
    for key in keys:
        if not isinstance(key, str):
            raise TypeError(f"Tag keys must be str, got {type(key)}.")
    return keys


def _check_tag(value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"Tag values must be str, got {type(value)}.")


def _check_number(value: Any) -> None:
    if not isinstance(value, (int, float)):
        raise TypeError(f"value must be int or float, got {type(value)}.")
