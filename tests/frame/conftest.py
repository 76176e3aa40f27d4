"""The frame's tests start no engine, so there is nothing to warm up and nothing to leak."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def warm_process() -> None:
    """Replaces the suite's fixture of this name, which starts the engine."""


@pytest.fixture(scope="module", autouse=True)
def nothing_left_behind() -> None:
    """Replaces the suite's fixture of this name, which looks for the engine's processes."""
