"""`init(logging_config=...)`: Python's own `logging` in the driver and in all workers."""

import json

import pytest
from harness.waiting import until

PROGRAM = """
import logging, os, time
{import_line}
ray.init(
    num_cpus=2, include_dashboard=False, logging_config=ray.LoggingConfig({arguments})
)

@ray.remote
def task():
    logging.getLogger("mine").info("in a %s", "task", extra={{"flavour": "sweet"}})
    logging.debug("too fine")
    try:
        1 / 0
    except ZeroDivisionError:
        logging.exception("went wrong")

@ray.remote
class Actor:
    def method(self):
        logging.warning("in an actor")

ray.get(task.remote(), timeout=60)
actor = Actor.options(name="keeper").remote()
ray.get(actor.method.remote(), timeout=60)
logging.info("in the driver")
while not os.path.exists({release!r}):
    time.sleep(0.05)
ray.shutdown()
"""


@pytest.fixture
def run(engine, drivers, tmp_path):
    """`run(arguments, *shows)`: all that the program with these arguments writes."""

    def run(arguments, *shows):
        release = tmp_path / "release"
        driver = drivers.start(
            PROGRAM.format(
                import_line=engine.import_lines()[0], arguments=arguments, release=str(release)
            )
        )
        until(
            lambda: (
                driver.process.poll() is not None
                or all(text in driver.stdout + driver.stderr for text in shows)
            ),
            f"the driver shows {shows}",
        )
        release.touch()
        assert driver.finish() == 0, driver.told()
        return driver.stdout + driver.stderr

    return run


def test_json(run):
    shown = run('encoding="JSON"', "in a task", "in an actor", "in the driver", "went wrong")
    records = {}
    for line in shown.splitlines():
        if line.startswith("{"):
            record = json.loads(line)
            records[record["message"]] = record
    task, actor = records["in a task"], records["in an actor"]
    assert task["levelname"] == "INFO"
    assert task["flavour"] == "sweet"
    assert task["task_name"] == "task"
    assert task["task_func_name"].endswith(".task")
    assert len(task["task_id"]) == 48
    assert "actor_id" not in task
    assert {"asctime", "filename", "lineno", "process", "timestamp_ns"} <= task.keys()
    assert actor["actor_name"] == "keeper"
    assert len(actor["actor_id"]) == 32
    assert actor["process"] != task["process"]
    driver = records["in the driver"]
    assert driver["job_id"] == task["job_id"]
    assert "task_id" not in driver
    assert "ZeroDivisionError" in records["went wrong"]["exc_text"]
    assert "too fine" not in records


def test_text(run):
    shown = run('log_level="DEBUG"', "in a task", "in an actor", "in the driver", "too fine")
    (line,) = [line for line in shown.splitlines() if "in a task" in line]
    assert "INFO" in line
    assert " -- in a task flavour=sweet job_id=" in line
    assert " task_name=task " in line
    (line,) = [line for line in shown.splitlines() if "in an actor" in line]
    assert " actor_name=keeper " in line


def test_further_attributes(run):
    arguments = 'encoding="JSON", additional_log_standard_attrs=["name", "threadName"]'
    shown = run(arguments, "in a task")
    (line,) = [line for line in shown.splitlines() if '"in a task"' in line]
    record = json.loads(line)
    assert record["name"] == "mine"
    assert record["threadName"]


def test_wrong_values(ray):
    with pytest.raises(ValueError, match="Invalid encoding type: YAML. Valid encoding types are"):
        ray.LoggingConfig(encoding="YAML")
    with pytest.raises(ValueError, match="Unknown python logging standard attribute: colour"):
        ray.LoggingConfig(additional_log_standard_attrs=["colour"])


def test_as_a_dictionary(ray):
    config = ray.LoggingConfig(encoding="JSON", log_level="DEBUG")
    assert config.to_dict() == {
        "encoding": "JSON",
        "log_level": "DEBUG",
        "additional_log_standard_attrs": [],
    }
    assert ray.LoggingConfig.from_dict(config.to_dict()) == config
