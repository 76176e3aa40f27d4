"""The measured figures: samples of each engine, and what follows from them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field


@dataclass
class Row:
    """One named figure of both engines.

    `samples` and `notes` are keyed by an engine's label; an engine without samples has a note that
    says why. `copy_rate` is the rate of a warm copy, in the row's unit, for rows of bandwidth.
    """

    name: str
    unit: str
    more_is_better: bool
    samples: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    copy_rate: float | None = None

    def add(self, label: str, sample: float) -> None:
        """Adds a sample of the engine `label`."""
        self.samples.setdefault(label, []).append(sample)

    def figure(self, label: str) -> float | None:
        """The median of an engine's samples: on a shared machine single rounds go astray."""
        samples = self.samples.get(label)
        return statistics.median(samples) if samples else None

    def deviation(self, label: str) -> float:
        """Standard deviation of an engine's samples; 0 for a single one."""
        return statistics.pstdev(self.samples[label])

    def ratio(self, label: str, other: str) -> float | None:
        """How many times better `label` is than `other`; above 1 is better."""
        ours, theirs = self.figure(label), self.figure(other)
        if not ours or not theirs:
            return None
        return ours / theirs if self.more_is_better else theirs / ours

    def share_of_copy(self, label: str) -> float | None:
        """The engine's bandwidth as a share of a warm copy's."""
        ours = self.figure(label)
        if ours is None or self.copy_rate is None:
            return None
        return ours / self.copy_rate
