"""What a worker can import, and where it runs."""

import pytest

PROGRAM = """
import os, sys
{import_line}
import neighbour
from package.part import triple

ray.init(num_cpus=1, log_to_driver=False, include_dashboard=False)


GREETING = "hello from the script"


class Local:
    def __init__(self, value):
        self.value = value


@ray.remote
def from_neighbour(value):
    import package.part
    return neighbour.double(value) + package.part.triple(value)


@ray.remote
def use(function, value):
    return function(value)


@ray.remote
def own_class(local):
    return Local(local.value + 1), isinstance(local, Local)


@ray.remote
def greet():
    return GREETING


@ray.remote
def where():
    return os.getcwd()


print("neighbour", ray.get(from_neighbour.remote(1), timeout=60))
print("by reference", ray.get(use.remote(triple, 5), timeout=60))
print("module function", ray.get(ray.remote(neighbour.double).remote(4), timeout=60))
local, same = ray.get(own_class.remote(Local(1)), timeout=60)
print("own class", local.value, same, type(local) is Local)
print("global", ray.get(greet.remote(), timeout=60))
print("folder", ray.get(where.remote(), timeout=60))
print("decorated", ray.get(neighbour.decorated.remote(2), timeout=60))
ray.shutdown()
"""

NEIGHBOUR = """
{import_line}


def double(value):
    return 2 * value


@ray.remote
def decorated(value):
    return "decorated", double(value)
"""

PART = """
def triple(value):
    return 3 * value
"""


@pytest.fixture
def script_folder(tmp_path, engine):
    """A folder with modules beside the script, as a user's project has them."""
    folder = tmp_path / "project"
    (folder / "package").mkdir(parents=True)
    (folder / "package" / "__init__.py").write_text("")
    (folder / "package" / "part.py").write_text(PART)
    (folder / "neighbour.py").write_text(NEIGHBOUR.format(import_line=engine.import_lines()[0]))
    return folder


def test_modules_beside_the_script(engine, drivers, script_folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    driver = drivers.run(
        PROGRAM.format(import_line=engine.import_lines()[0]),
        folder=script_folder,
        working_directory=elsewhere,
    )
    assert "neighbour 5" in driver.stdout
    assert "by reference 15" in driver.stdout
    assert "module function 8" in driver.stdout
    assert "own class 2 True True" in driver.stdout
    assert "global hello from the script" in driver.stdout
    assert f"folder {elsewhere}" in driver.stdout
    assert "decorated ('decorated', 4)" in driver.stdout


@pytest.mark.whipray_only
def test_folder_that_the_driver_added_to_its_path(engine, drivers, tmp_path):
    extra = tmp_path / "extra"
    extra.mkdir()
    (extra / "added_later.py").write_text("VALUE = 'found'\n")
    driver = drivers.run(
        f"""
        import sys
        {engine.import_lines()[0]}
        sys.path.insert(0, {str(extra)!r})
        ray.init(num_cpus=1, log_to_driver=False, include_dashboard=False)

        @ray.remote
        def look():
            import added_later
            return added_later.VALUE

        print(ray.get(look.remote(), timeout=60))
        """
    )
    assert "found" in driver.stdout


def test_module_in_the_working_directory(engine, drivers, tmp_path):
    """A script that is run from another folder finds that folder's modules in its tasks."""
    here = tmp_path / "here"
    here.mkdir()
    (here / "only_here.py").write_text("VALUE = 'local'\n")
    driver = drivers.run(
        f"""
        {engine.import_lines()[0]}
        ray.init(num_cpus=1, log_to_driver=False, include_dashboard=False)

        @ray.remote
        def look():
            import only_here
            return only_here.VALUE

        print(ray.get(look.remote(), timeout=60))
        """,
        working_directory=here,
        environment={"PYTHONPATH": str(here)},
    )
    assert "local" in driver.stdout


def test_missing_module_is_the_tasks_error(engine, drivers):
    driver = drivers.run(
        f"""
        {engine.import_lines()[0]}
        ray.init(num_cpus=1, log_to_driver=False, include_dashboard=False)

        @ray.remote
        def look():
            import no_such_module_anywhere

        try:
            ray.get(look.remote(), timeout=60)
        except ModuleNotFoundError as error:
            print("missing", "no_such_module_anywhere" in str(error))
            print("from a task", isinstance(error, ray.exceptions.RayTaskError))
        """
    )
    assert "missing True" in driver.stdout
    assert "from a task True" in driver.stdout


def test_environment_variables_of_the_driver(engine, drivers):
    driver = drivers.run(
        f"""
        import os
        {engine.import_lines()[0]}
        ray.init(num_cpus=1, log_to_driver=False, include_dashboard=False)
        print(ray.get(ray.remote(lambda: os.environ.get("COLOUR")).remote(), timeout=60))
        """,
        environment={"COLOUR": "blue"},
    )
    assert "blue" in driver.stdout


@pytest.mark.parametrize("first", ["ray.util.placement_group", "ray.util.scheduling_strategies"])
def test_function_with_the_name_of_its_module(engine, drivers, first):
    """The import of a module `ray.util.placement_group` hid the function of this name."""
    import_line = engine.import_lines()[-1]
    driver = drivers.run(
        f"""
        {import_line}
        import {first}
        from ray.util.placement_group import PlacementGroup
        from ray.util.scheduling_strategies import NodeLabelSchedulingStrategy as Strategy, In
        from ray.util import placement_group

        assert placement_group is ray.util.placement_group
        ray.init(num_cpus=1, log_to_driver=False, include_dashboard=False, labels={{"a": "b"}})
        group = ray.util.placement_group([{{"CPU": 1}}])
        print("created", isinstance(group, PlacementGroup) and group.wait(60))
        ray.util.remove_placement_group(group)
        task = ray.remote(scheduling_strategy=Strategy({{"a": In("b")}}))(lambda: "placed")
        print(ray.get(task.remote(), timeout=60))
        """
    )
    assert "created True" in driver.stdout
    assert "placed" in driver.stdout
