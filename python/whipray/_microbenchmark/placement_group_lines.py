"""The line about placement groups. Its session offers 100 of a resource named `custom`."""

from __future__ import annotations

from typing import Any

from .line import Line, Repetition

GROUPS = 100
READY_TIMEOUT_SECONDS = 30


def _create_and_remove(engine: Any) -> Repetition:
    def repetition() -> None:
        groups = [engine.util.placement_group(bundles=[{"custom": 0.001}]) for _ in range(GROUPS)]
        for group in groups:
            group.wait(timeout_seconds=READY_TIMEOUT_SECONDS)
        for group in groups:
            engine.util.remove_placement_group(group)

    return repetition


CREATE_AND_REMOVE = Line(
    "placement group create/removal",
    _create_and_remove,
    operations=GROUPS,
    session="custom resource",
    needs=("<engine>.util.placement_group",),
)
