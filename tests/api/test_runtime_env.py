"""What workers find around them: variables, a working directory, modules."""

import importlib
import json
import os
import sys

import pytest

pytestmark = [
    pytest.mark.cluster(num_cpus=2, runtime_env={"env_vars": {"OF_JOB": "job", "OF_BOTH": "job"}}),
    pytest.mark.usefixtures("cluster"),
]


@pytest.fixture(scope="module")
def variables():
    return lambda *names: [os.environ.get(name) for name in names]


def test_variables_of_the_job(ray, variables, get):
    assert get(ray.remote(variables).remote("OF_JOB", "OF_BOTH")) == ["job", "job"]


def test_variables_of_a_task_go_before_those_of_the_job(ray, variables, get):
    task = ray.remote(runtime_env={"env_vars": {"OF_TASK": "task", "OF_BOTH": "task"}})(variables)
    names = ("OF_JOB", "OF_TASK", "OF_BOTH")
    assert get(task.remote(*names)) == ["job", "task", "task"]
    changed = task.options(runtime_env={"env_vars": {"OF_BOTH": "options"}})
    assert get(changed.remote("OF_BOTH"))[0] == "options"
    assert get(ray.remote(variables).remote("OF_TASK")) == [None]


def test_variables_of_an_actor(ray, variables, get):
    @ray.remote(runtime_env={"env_vars": {"OF_ACTOR": "actor"}})
    class Actor:
        at_start = None

        def __init__(self):
            self.at_start = variables("OF_ACTOR", "OF_JOB")

        def tell(self):
            return self.at_start

    assert get(Actor.remote().tell.remote()) == ["actor", "job"]


def test_variables_refer_to_others(ray, variables, get):
    """They were set with the dollar signs in them, so that nothing could be put before PATH."""
    given = {
        "PATH": "/first:${PATH}",
        "WITH_JOB": "${OF_JOB}/of task",
        "SHORT": "<$OF_JOB>",
        "NEW": "${NOT_THERE}here",
        "OF_NEW": "${NEW} again",
    }
    task = ray.remote(runtime_env={"env_vars": given})(variables)
    path, *others = get(task.remote(*given))
    assert path == "/first:" + get(ray.remote(variables).remote("PATH"))[0]
    assert others == ["job/of task", "<job>", "here", "here again"]


def test_what_a_task_submits_has_its_environment(ray, variables, get):
    inner = ray.remote(variables)

    @ray.remote(runtime_env={"env_vars": {"OF_PARENT": "parent"}})
    def outer():
        return ray.get(inner.remote("OF_PARENT", "OF_JOB"))

    assert get(outer.remote()) == ["parent", "job"]


def test_context_tells_the_environment(ray, get):
    @ray.remote(runtime_env={"env_vars": {"OF_TASK": "task"}})
    def tell():
        context = ray.get_runtime_context()
        fields = context.runtime_env.to_dict(), context.runtime_env.env_vars()
        return *fields, json.loads(context.get_runtime_env_string())

    told, variables, written = get(tell.remote())
    assert variables == told["env_vars"]
    assert told["env_vars"]["OF_TASK"] == "task"
    assert told["env_vars"]["OF_JOB"] == "job"
    assert written["env_vars"] == told["env_vars"]


@pytest.mark.parametrize(
    "variables, message",
    [
        ({"a": 1}, "the value 1 is of type"),
        ({1: "a"}, "the key 1 is of type"),
        (["a"], "must be of type"),
    ],
)
def test_wrong_variables(ray, variables, message):
    with pytest.raises(TypeError, match=message):
        ray.runtime_env.RuntimeEnv(env_vars=variables)
    with pytest.raises(TypeError, match=message):
        ray.remote(runtime_env={"env_vars": variables})(lambda: None).remote()


@pytest.fixture
def project(tmp_path):
    """A folder with a module, a package and data."""
    folder = tmp_path / "project"
    (folder / "colours").mkdir(parents=True)
    (folder / "colours" / "__init__.py").write_text("NAMES = ['red']\n")
    (folder / "shapes.py").write_text("NAMES = ['circle']\n")
    (folder / "data.txt").write_text("some data")
    (folder / "large.bin").write_text("left out")
    (folder / "nowhere").symlink_to(tmp_path / "missing")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture
def read_project():
    def read():
        import colours
        import shapes

        with open("data.txt") as file:
            has_large = os.path.exists("large.bin")
            return colours.NAMES, shapes.NAMES, file.read(), has_large, os.getcwd()

    return read


# Ray takes folders for the whole job alone.
@pytest.mark.whipray_only
def test_working_directory_of_a_task(ray, get, project, read_project):
    environment = {"working_dir": str(project), "excludes": ["*.bin"]}
    task = ray.remote(runtime_env=environment)(read_project)
    colours, shapes, data, has_large, folder = get(task.remote())
    assert (colours, shapes, data) == (["red"], ["circle"], "some data")
    assert not has_large
    # It is a copy: what tasks write there does not reach the user's files.
    assert os.path.realpath(folder) != os.path.realpath(project)


@pytest.mark.whipray_only
def test_working_directory_of_an_actor(ray, get, project, read_project):
    @ray.remote(runtime_env={"working_dir": str(project)})
    class Reader:
        def read(self):
            return read_project()[:3]

    assert get(Reader.remote().read.remote()) == (["red"], ["circle"], "some data")


@pytest.mark.whipray_only
def test_modules_of_a_task(ray, get, project):
    def names():
        import colours

        return colours.NAMES

    environment = {"py_modules": [str(project / "colours")]}
    assert get(ray.remote(runtime_env=environment)(names).remote()) == ["red"]


@pytest.mark.whipray_only
def test_module_given_by_itself(ray, get, project, monkeypatch):
    monkeypatch.syspath_prepend(str(project))
    colours = importlib.import_module("colours")
    monkeypatch.delitem(sys.modules, "colours")

    def names():
        import colours

        return colours.NAMES, colours.__file__

    names, file = get(ray.remote(runtime_env={"py_modules": [colours]})(names).remote())
    assert names == ["red"]
    assert not file.startswith(str(project))


def test_folder_that_is_not_there(ray, tmp_path):
    with pytest.raises(ValueError, match="is not a valid path"):
        ray.runtime_env.RuntimeEnv(working_dir=str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"working_dir": 1}, "must be a string"),
        ({"py_modules": "x"}, "must be a list of strings"),
        ({"excludes": "x"}, "must be of type List"),
        ({"config": 5}, "must be of type dict or RuntimeEnvConfig"),
        ({"config": {"eager_install": 5}}, "eager_install must be a boolean"),
    ],
)
def test_wrong_types(ray, fields, message):
    with pytest.raises(TypeError, match=message):
        ray.runtime_env.RuntimeEnv(**fields)
    with pytest.raises(TypeError, match=message):
        ray.remote(runtime_env=fields)(lambda: None).remote()


def test_object_is_a_dictionary(ray, variables, get):
    environment = ray.runtime_env.RuntimeEnv(env_vars={"A": "1"})
    assert environment == {"env_vars": {"A": "1"}}
    assert environment.env_vars() == {"A": "1"}
    assert environment.to_dict() == {"env_vars": {"A": "1"}}
    assert not environment.has_working_dir()
    assert ray.runtime_env.RuntimeEnv.deserialize(environment.serialize()) == environment
    environment["env_vars"] = {"A": "2"}
    assert get(ray.remote(runtime_env=environment)(variables).remote("A")) == ["2"]
    with pytest.raises(TypeError):
        environment.set("env_vars", {"A": 1})


def test_config(ray):
    config = ray.runtime_env.RuntimeEnvConfig(setup_timeout_seconds=10)
    assert config.to_dict() == {
        "setup_timeout_seconds": 10,
        "eager_install": True,
        "log_files": [],
    }
    with pytest.raises(ValueError):
        ray.runtime_env.RuntimeEnvConfig(setup_timeout_seconds=0)
    environment = ray.runtime_env.RuntimeEnv(config={"setup_timeout_seconds": 3})
    assert environment["config"]["setup_timeout_seconds"] == 3


@pytest.mark.whipray_only
def test_fields_that_are_not_supported_are_named(ray):
    with pytest.raises(ValueError, match="pip.*supported ones are.*env_vars"):
        ray.remote(runtime_env={"pip": ["x"]})(lambda: None).remote()
