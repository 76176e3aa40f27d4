"""Rows of runtime environments: those of the jobs that run and of the actors that live."""

from __future__ import annotations

import json
from typing import Any

from whipray import _core
from whipray._runtime_env import VARIABLE
from whipray.util.state.common import RuntimeEnvState


def environment_of_actor(entry: dict[str, Any]) -> str:
    """What an actor has instead of the environment of its job, as JSON; ``{}`` for nothing."""
    return str(entry["environment"].get(VARIABLE, "{}"))


def runtime_envs() -> list[RuntimeEnvState]:
    """Each environment once for each node that has it. That of a job counts for its driver's."""
    status = _core.status()
    counts: dict[tuple[str, str], int] = {}
    for job in status["jobs"]:
        if not job["is_over"]:
            _count(counts, job["runtime_env"] or "{}", job["node_id"])
    for actor in status["actors"]:
        if actor["node_id"]:
            _count(counts, environment_of_actor(actor), actor["node_id"])
    return [
        RuntimeEnvState(
            runtime_env=json.loads(environment),
            success=True,
            creation_time_ms=None,
            node_id=node,
            ref_cnt=count,
        )
        for (environment, node), count in sorted(counts.items())
    ]


def _count(counts: dict[tuple[str, str], int], environment: str, node: str) -> None:
    described = json.dumps(json.loads(environment), sort_keys=True)
    if described != "{}":
        counts[described, node] = counts.get((described, node), 0) + 1
