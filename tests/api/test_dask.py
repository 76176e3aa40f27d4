"""util.dask: dask's collections, each task of their graphs a task of the cluster."""

import importlib
import subprocess
import sys

import pytest

dask = pytest.importorskip("dask")

pytestmark = [pytest.mark.cluster(num_cpus=4), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def module(engine):
    return importlib.import_module(f"{engine.name}.util.dask")


@pytest.fixture
def scheduler(module):
    return module.ray_dask_get


@dask.delayed
def increment(value):
    return value + 1


@dask.delayed
def refuse(value):
    raise KeyError(value)


@pytest.fixture(scope="module", autouse=True)
def found_by_workers(engine):
    # The workers of Ray do not find this file.
    pickling = importlib.import_module(f"{engine.name}.cloudpickle")
    pickling.register_pickle_by_value(sys.modules[__name__])


class TestDelayed:
    def test_a_chain(self, scheduler):
        assert increment(increment(1)).compute(scheduler=scheduler) == 3

    def test_several_at_once_and_in_containers(self, scheduler):
        values = dask.compute(
            increment(1), [increment(2), {"key": increment(3)}], scheduler=scheduler
        )
        assert values == (2, [3, {"key": 4}])

    def test_tasks_run_in_other_processes(self, scheduler):
        import os

        assert dask.delayed(os.getpid)().compute(scheduler=scheduler) != os.getpid()

    def test_an_exception_is_raised(self, scheduler):
        with pytest.raises(KeyError):
            increment(refuse("refused")).compute(scheduler=scheduler)

    def test_references_are_arguments(self, ray, scheduler):
        assert increment(ray.put(3)).compute(scheduler=scheduler) == 4

    def test_a_graph_by_hand(self, scheduler):
        graph = {"one": 1, "two": (lambda value: value + 1, "one"), "other": "two"}
        assert scheduler(graph, ["two", "one"]) == (2, 1)
        assert scheduler(graph, [["two"], "other"]) == ((2,), 2)
        assert scheduler(graph, "two") == 2

    def test_many_tasks_of_one(self, scheduler):
        total = dask.delayed(sum)([increment(number) for number in range(50)])
        assert total.compute(scheduler=scheduler) == 51 * 25


class TestCollections:
    def test_arrays(self, scheduler):
        pytest.importorskip("numpy")
        arrays = pytest.importorskip("dask.array")
        array = arrays.arange(1000, chunks=100)
        assert (array + array[::-1]).sum().compute(scheduler=scheduler) == 999 * 1000
        assert array.mean().compute(scheduler=scheduler) == 499.5

    def test_bags(self, scheduler):
        bags = pytest.importorskip("dask.bag")
        bag = bags.from_sequence(range(10), npartitions=3)
        assert bag.map(lambda value: 2 * value).sum().compute(scheduler=scheduler) == 90
        assert sorted(bag.filter(lambda value: value > 7).compute(scheduler=scheduler)) == [8, 9]

    def test_dataframes(self, scheduler):
        pandas = pytest.importorskip("pandas")
        dataframes = pytest.importorskip("dask.dataframe")
        frame = pandas.DataFrame({"value": range(20), "key": [n % 3 for n in range(20)]})
        spread = dataframes.from_pandas(frame, npartitions=4)
        sums = spread.groupby("key").value.sum().compute(scheduler=scheduler)
        assert sums.to_dict() == {0: 63, 1: 70, 2: 57}
        assert len(spread.shuffle("key").compute(scheduler=scheduler)) == 20


class TestPersist:
    def test_the_new_collection_holds_references(self, ray, scheduler):
        persisted = increment(1).persist(scheduler=scheduler)
        assert [type(value) for value in dict(persisted.dask).values()] == [ray.ObjectRef]
        assert increment(persisted).compute(scheduler=scheduler) == 3

    def test_the_function_does_so_as_well(self, module, ray, scheduler):
        first, second = dask.persist(increment(1), increment(2), scheduler=scheduler)
        assert dask.compute(first, second, scheduler=scheduler) == (2, 3)
        assert [type(value) for value in dict(first.dask).values()] == [ray.ObjectRef]

    def test_arrays_go_on_from_there(self, scheduler):
        pytest.importorskip("numpy")
        arrays = pytest.importorskip("dask.array")
        persisted = arrays.ones((100, 100), chunks=(50, 50)).persist(scheduler=scheduler)
        assert (persisted + 1).sum().compute(scheduler=scheduler) == 20_000

    def test_other_schedulers_keep_values(self, module):
        persisted = increment(1).persist(scheduler="synchronous")
        assert list(dict(persisted.dask).values()) != []
        assert persisted.compute(scheduler="synchronous") == 2


class TestOptions:
    def test_of_all_tasks(self, ray, scheduler):
        assigned = dask.delayed(lambda: ray.get_runtime_context().get_assigned_resources())
        options = {"num_cpus": 2}
        assert assigned().compute(scheduler=scheduler, ray_remote_args=options)["CPU"] == 2

    def test_of_one_task(self, ray, scheduler):
        assigned = dask.delayed(lambda: ray.get_runtime_context().get_assigned_resources())
        with dask.annotate(ray_remote_args={"num_cpus": 3}):
            task = assigned()
        found = task.compute(
            scheduler=scheduler, ray_remote_args={"num_cpus": 2}, optimize_graph=False
        )
        assert found["CPU"] == 3

    def test_resources_of_dask_are_refused(self, scheduler):
        with pytest.raises(ValueError, match="ray_remote_args"):
            increment(1).compute(scheduler=scheduler, resources={"GPU": 1})
        with dask.annotate(resources={"GPU": 1}):
            task = increment(1)
        with pytest.raises(ValueError, match="ray_remote_args"):
            task.compute(scheduler=scheduler, optimize_graph=False)


class TestDefault:
    def test_the_scheduler_of_all_graphs(self, module):
        module.enable_dask_on_ray()
        try:
            assert dask.config.get("scheduler") is module.ray_dask_get
            assert increment(1).compute() == 2
        finally:
            module.disable_dask_on_ray()
        assert dask.config.get("scheduler", None) is None

    def test_for_a_block(self, module):
        with module.enable_dask_on_ray():
            assert dask.config.get("scheduler") is module.ray_dask_get
        assert dask.config.get("scheduler", None) is None


class TestCallbacks:
    def test_the_steps_of_a_graph(self, module, ray, scheduler):
        class Steps(module.RayDaskCallback):
            def __init__(self):
                self.steps = []

            def _ray_presubmit(self, task, key, deps):
                self.steps.append(("presubmit", len(deps)))

            def _ray_postsubmit(self, task, key, deps, object_ref):
                self.steps.append(("postsubmit", type(object_ref) is ray.ObjectRef))

            def _ray_postsubmit_all(self, object_refs, dsk):
                self.steps.append(("postsubmit_all", len(object_refs)))

            def _ray_finish(self, result):
                self.steps.append(("finish", result))

        with Steps() as callback:
            increment(increment(1)).compute(scheduler=scheduler, optimize_graph=False)
        first = [("presubmit", 0), ("postsubmit", True)]
        second = [("presubmit", 1), ("postsubmit", True)]
        assert callback.steps == [*first, *second, ("postsubmit_all", 1), ("finish", [3])]

    def test_a_result_may_be_given_instead(self, module, scheduler):
        class Instead(module.RayDaskCallback):
            def _ray_presubmit(self, task, key, deps):
                return 100

        with Instead():
            assert increment(1).compute(scheduler=scheduler) == 100
        assert increment(1).compute(scheduler=scheduler) == 2

    def test_before_and_after_a_task_in_its_worker(self, module, ray, scheduler, tmp_path):
        path = tmp_path / "told"

        class Around(module.RayDaskCallback):
            def _ray_pretask(self, key, object_refs):
                return 5

            def _ray_posttask(self, key, result, pre_state):
                path.write_text(f"{result} {pre_state}")

        with Around():
            increment(1).compute(scheduler=scheduler)
        assert path.read_text() == "2 5"

    def test_registered_ones_are_called_until_they_are_not(self, module, scheduler):
        results = []
        callback = module.RayDaskCallback(ray_finish=results.append)
        callback.register()
        increment(1).compute(scheduler=scheduler)
        callback.unregister()
        increment(2).compute(scheduler=scheduler)
        assert results == [[2]]

    def test_a_progress_bar(self, module, scheduler):
        with module.ProgressBarCallback():
            values = dask.compute(*[increment(number) for number in range(5)], scheduler=scheduler)
        assert values == (1, 2, 3, 4, 5)


@pytest.mark.whipray_only
class TestBesideRay:
    def test_the_synchronous_scheduler_runs_here(self, module):
        import os

        task = dask.delayed(os.getpid)()
        assert task.compute(scheduler=module.ray_dask_get_sync) == os.getpid()
        with pytest.raises(KeyError):
            refuse(1).compute(scheduler=module.ray_dask_get_sync)

    def test_callbacks_of_dask_are_called(self, scheduler):
        from dask.callbacks import Callback

        finished = []
        with Callback(posttask=lambda key, value, graph, state, worker: finished.append(value)):
            increment(increment(1)).compute(scheduler=scheduler, optimize_graph=False)
        assert sorted(finished) == [2, 3]

    def test_persisted_values_inside_of_fused_tasks(self, scheduler):
        persisted = increment(1).persist(scheduler=scheduler)
        chain = increment(increment(increment(persisted)))
        assert chain.compute(scheduler=scheduler) == 5

    def test_without_dask_the_message_says_what_to_do(self):
        program = (
            "import sys; sys.modules['dask'] = None\n"
            "try:\n    import whipray.util.dask\n"
            "except ImportError as error:\n    print(error)\n"
        )
        told = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
        )
        assert "pip install" in told.stdout, told.stderr
