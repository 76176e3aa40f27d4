"""Options, fixtures and the leak check of the whole suite."""

import functools
import os
import shutil
import signal
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Iterator

import pytest
from harness import processes
from harness.driver import Drivers
from harness.engine import Engine
from harness.leaks import LeakCheck
from harness.waiting import GENEROUS_SECONDS

FOLDERS_THAT_USE_THE_ENGINE = ("api", "faults", "cli", "ecosystem", "examples")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engine",
        choices=["whipray", "ray"],
        default="whipray",
        help="which engine runs the scenarios (ray: to check the expectations themselves)",
    )


def pytest_configure(config: pytest.Config) -> None:
    processes.mark_this_run()
    # A shell without job control has its background jobs ignore Ctrl-C, and what they start
    # inherits that: the drivers that tests interrupt would not hear it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # `nohup` has it ignored, which processes below would inherit.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # Sessions of this run must neither find nor be found by a cluster of somebody else. The path
    # is short because Ray keeps its sockets below it, whose names may have 107 characters.
    folder = tempfile.mkdtemp(prefix="wr", dir="/tmp")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    os.environ["RAY_TMPDIR"] = folder
    if config.getoption("--engine") == "ray":
        # Its workers import the modules of tests only from there.
        modules = str(Path(__file__).parent / "api")
        os.environ["PYTHONPATH"] = os.pathsep.join(
            [modules, *filter(None, [os.environ.get("PYTHONPATH")])]
        )
    for variable in ("RAY_ADDRESS", "RAY_NAMESPACE"):
        os.environ.pop(variable, None)


def pytest_collection_modifyitems(config: pytest.Config, items: list) -> None:
    if config.getoption("--engine") == "whipray":
        return
    skip = pytest.mark.skip(reason="about our own promises, not Ray's")
    for item in items:
        if item.get_closest_marker("whipray_only"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def engine(pytestconfig: pytest.Config) -> Engine:
    """The engine that this run judges."""
    return Engine(pytestconfig.getoption("--engine"))


@pytest.fixture(scope="session")
def ray(engine: Engine) -> ModuleType:
    """The engine's module, imported when the first test needs it."""
    return engine.module()


@pytest.fixture(scope="session")
def warm_process(engine: Engine) -> None:
    """What the engine keeps open in a process for good is not a leak of the first module."""
    if engine.is_whipray:
        module = engine.module()
        module.init(**engine.init_options({"num_cpus": 1}))
        module.shutdown()


@pytest.fixture(scope="module", autouse=True)
def nothing_left_behind(engine: Engine, request: pytest.FixtureRequest) -> Iterator[None]:
    """After a module: no process, shared memory, socket or descriptor of its own is left."""
    if not engine.is_whipray or request.path.parent.name not in FOLDERS_THAT_USE_THE_ENGINE:
        yield
        return
    request.getfixturevalue("warm_process")
    check = LeakCheck()
    yield
    check.require_nothing_left()


@pytest.fixture(scope="module")
def cluster(
    engine: Engine, ray: ModuleType, request: pytest.FixtureRequest, nothing_left_behind: None
) -> Iterator[Any]:
    """A started cluster that the module shares; `pytest.mark.cluster(...)` gives its options."""
    marker = request.node.get_closest_marker("cluster")
    options = {"num_cpus": 2, **(marker.kwargs if marker else {})}
    ray.shutdown()
    yield ray.init(**engine.init_options(options))
    ray.shutdown()


@pytest.fixture
def stopped(ray: ModuleType) -> Iterator[None]:
    """No cluster before the test and none after it, for tests that call `init()` themselves."""
    ray.shutdown()
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def init(engine: Engine, ray: ModuleType) -> Callable[..., Any]:
    """`init(**options)`: the engine's `init()`, quiet unless the options say otherwise."""
    return lambda **options: ray.init(**engine.init_options(options))


@pytest.fixture(scope="session")
def get(ray: ModuleType) -> Callable[..., Any]:
    """The engine's `get` with a bound, so that a lost result fails a test instead of hanging it."""
    return functools.partial(ray.get, timeout=GENEROUS_SECONDS)


@pytest.fixture
def drivers(tmp_path: Path) -> Iterator[Drivers]:
    """Starts scripts as separate drivers, and ends those that still run after the test."""
    started = Drivers(tmp_path)
    yield started
    started.end_all()
