"""`init(runtime_env=...)` with folders, and settings of a job."""

import os

import pytest
from harness.waiting import until

pytestmark = pytest.mark.usefixtures("stopped")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "helpers.py").write_text("VALUE = 'from the folder'\n")
    (tmp_path / "data.txt").write_text("data")
    return tmp_path


def test_working_directory_of_the_job(ray, init, get, folder):
    init(num_cpus=1, runtime_env={"working_dir": str(folder)})

    def read():
        import helpers

        with open("data.txt") as file:
            return helpers.VALUE, file.read()

    here = os.getcwd()
    assert get(ray.remote(read).remote()) == ("from the folder", "data")
    assert os.getcwd() == here


def test_changes_after_the_start_are_not_seen(ray, init, get, folder):
    init(num_cpus=1, runtime_env={"working_dir": str(folder)})
    (folder / "data.txt").write_text("changed")

    def read():
        with open("data.txt") as file:
            return file.read()

    assert get(ray.remote(read).remote()) == "data"


def test_modules_of_the_job(ray, init, get, tmp_path):
    package = tmp_path / "instruments"
    package.mkdir()
    (package / "__init__.py").write_text("NAME = 'violin'\n")
    init(num_cpus=1, runtime_env={"py_modules": [str(package)]})

    def name():
        import instruments

        return instruments.NAME

    assert get(ray.remote(name).remote()) == "violin"


def test_task_keeps_the_folder_of_the_job(ray, init, get, folder):
    init(num_cpus=1, runtime_env={"working_dir": str(folder)})

    @ray.remote(runtime_env={"env_vars": {"OF_TASK": "task"}})
    def read():
        with open("data.txt") as file:
            return file.read(), os.environ["OF_TASK"]

    assert get(read.remote()) == ("data", "task")


def test_job_config(ray, init, get):
    config = ray.job_config.JobConfig(
        runtime_env={"env_vars": {"OF_CONFIG": "yes"}}, ray_namespace="of_config"
    )
    config.set_metadata("key", "value")
    init(num_cpus=1, job_config=config)
    assert ray.get_runtime_context().namespace == "of_config"
    assert get(ray.remote(lambda: os.environ["OF_CONFIG"]).remote()) == "yes"


def test_actors_that_outlive_their_handles_by_default(ray, init, get):
    config = ray.job_config.JobConfig(default_actor_lifetime="detached", ray_namespace="kept")
    init(num_cpus=1, job_config=config)

    @ray.remote(num_cpus=0)
    class Actor:
        def get(self):
            return "there"

    get(Actor.options(name="by default").remote().get.remote())
    get(Actor.options(name="not", lifetime="non_detached").remote().get.remote())

    @ray.remote
    def create():
        return ray.get(Actor.options(name="in a task").remote().get.remote())

    get(create.remote())
    until(lambda: "not" not in ray.util.list_named_actors(), "the other one goes")
    for name in ("by default", "in a task"):
        assert get(ray.get_actor(name).get.remote()) == "there"
    with pytest.raises(ValueError, match="Default actor lifetime must be one of"):
        ray.job_config.JobConfig(default_actor_lifetime="eternal")


def test_job_config_from_json(ray):
    config = ray.job_config.JobConfig.from_json(
        {"runtime_env": {"env_vars": {"A": "b"}}, "ray_namespace": "n", "metadata": {"k": "v"}}
    )
    assert config.runtime_env == {"env_vars": {"A": "b"}}
    assert config.ray_namespace == "n"
    assert config.metadata == {"k": "v"}


def test_setup_hook(ray, init, get):
    def prepare():
        os.environ["PREPARED"] = os.environ["OF_JOB"] + " in " + str(os.getpid())

    environment = {"env_vars": {"OF_JOB": "set up"}, "worker_process_setup_hook": prepare}
    init(num_cpus=1, runtime_env=environment)

    @ray.remote
    def task():
        return os.environ["PREPARED"], os.getpid()

    @ray.remote
    class Actor:
        def __init__(self):
            self.seen = os.environ["PREPARED"], os.getpid()

        def get(self):
            return self.seen

    for prepared, process in get([task.remote(), Actor.remote().get.remote()]):
        assert prepared == f"set up in {process}"
    assert "PREPARED" not in os.environ


def test_setup_hook_by_name(ray, init, get, folder):
    (folder / "hooks.py").write_text("import os\ndef prepare(): os.environ['PREPARED'] = 'yes'\n")
    environment = {"working_dir": str(folder), "worker_process_setup_hook": "hooks.prepare"}
    init(num_cpus=1, runtime_env=environment)
    assert get(ray.remote(lambda: os.environ["PREPARED"]).remote()) == "yes"


@pytest.mark.whipray_only  # With Ray the worker starts again and again.
def test_setup_hook_that_fails(ray, init, get):
    def fail():
        raise KeyError("no such thing")

    init(num_cpus=1, runtime_env={"worker_process_setup_hook": fail})
    with pytest.raises(ray.exceptions.RuntimeEnvSetupError, match="no such thing"):
        get(ray.remote(max_retries=0)(lambda: 1).remote())
    with pytest.raises(TypeError, match="worker_process_setup_hook"):
        ray.runtime_env.RuntimeEnv(worker_process_setup_hook=1)


@pytest.mark.whipray_only
def test_actor_with_a_failing_hook_dies(ray, init, get):
    def fail():
        raise KeyError("no such thing")

    init(num_cpus=1, runtime_env={"worker_process_setup_hook": fail})

    @ray.remote
    class Actor:
        def method(self):
            return 1

    with pytest.raises(ray.exceptions.RayError):
        get(Actor.remote().method.remote())
