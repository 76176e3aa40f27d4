"""What the comparison should show, by the name of the figure."""

from __future__ import annotations

from dataclasses import dataclass

RATIO = "ratio"
"""Our rate divided by the other engine's in the same run (times: the other way round)."""
SHARE_OF_COPY = "share of copy"
"""Our bandwidth divided by that of a warm copy in the same run."""
FIGURE = "figure"
"""Our figure itself, whatever the other engine's is."""


@dataclass(frozen=True)
class Goal:
    """A bound on a ratio, a share or a figure: at most, or else at least, `bound`."""

    kind: str
    bound: float
    at_most: bool = False
    unit: str = ""

    def text(self) -> str:
        """As in "≥ 8x", "≥ 90% of a copy" or "≤ 0.3 s"."""
        sign = "≤" if self.at_most else "≥"
        if self.kind == RATIO:
            return f"{sign} {self.bound:g}x"
        if self.kind == SHARE_OF_COPY:
            return f"{sign} {self.bound:.0%} of a copy"
        return f"{sign} {self.bound:g} {self.unit}".rstrip()

    def met_by(self, figure: float | None, ratio: float | None, share: float | None) -> bool | None:
        """Whether the goal is met, or None where what it bounds was not measured."""
        value = {RATIO: ratio, SHARE_OF_COPY: share, FIGURE: figure}[self.kind]
        if value is None:
            return None
        return value <= self.bound if self.at_most else value >= self.bound


def times(bound: float) -> Goal:
    """At least this many times as fast as the other engine."""
    return Goal(RATIO, bound)


def at_most(bound: float, unit: str = "") -> Goal:
    """A figure of at most `bound`."""
    return Goal(FIGURE, bound, at_most=True, unit=unit)


def at_least(bound: float, unit: str = "") -> Goal:
    """A figure of at least `bound`."""
    return Goal(FIGURE, bound, unit=unit)


GOALS: dict[str, Goal] = {
    "single client get calls (Plasma Store)": times(10),
    "single client put calls (Plasma Store)": times(20),
    "multi client put calls (Plasma Store)": times(20),
    "single client put gigabytes": Goal(SHARE_OF_COPY, 0.9),
    "multi client put gigabytes": Goal(SHARE_OF_COPY, 0.9),
    "single client tasks and get batch": times(10),
    "single client get object containing 10k refs": times(10),
    "single client wait 1k refs": times(10),
    "single client tasks sync": times(15),
    "single client tasks async": times(15),
    "multi client tasks async": times(15),
    "1:1 actor calls sync": times(12),
    "1:1 actor calls async": times(10),
    "1:1 actor calls concurrent": times(10),
    "1:n actor calls async": times(10),
    "n:n actor calls async": times(10),
    "n:n actor calls with arg async": times(10),
    "1:1 async-actor calls sync": times(12),
    "1:1 async-actor calls async": times(10),
    "1:1 async-actor calls with args async": times(10),
    "1:n async-actor calls async": times(10),
    "n:n async-actor calls async": times(10),
    "placement group create/removal": times(10),
    "client: get calls": times(10),
    "import": at_most(0.05, "s"),
    "init() of a local cluster": at_most(0.15, "s"),
    "first task after init()": at_most(0.05, "s"),
    "shutdown()": at_most(0.2, "s"),
    "processes of an idle local cluster": at_most(5),
    "memory of an idle local cluster": at_most(60, "MB"),
    "memory per further idle worker": at_most(10, "MB"),
    "50 actors created and called once": at_most(0.4, "s"),
    "actors created and called once": at_least(125, "per second"),
    "wheel": at_most(20, "MB"),
    "one task with 10,000 object arguments": at_most(0.3, "s"),
    "10,000 puts of 128 KiB": at_most(0.8, "s"),
    "one get of 10,000 arrays of 128 KiB": at_most(0.05, "s"),
    "one task that returns 3,000 objects": at_most(0.05, "s"),
    "100,000 queued tasks, all submitted": at_most(1, "s"),
    "100,000 queued tasks, all done": at_most(3, "s"),
    "1,000,000 queued tasks, all done": at_most(40, "s"),
    "20,000 tasks: the speed beside 50 idle actors, of that without": at_least(0.95),
    "1,000 actors created and called once": at_most(12, "s"),
    "memory of 1,000 actors": at_most(12_000, "MB"),
}
