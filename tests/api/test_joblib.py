"""util.joblib: joblib's Parallel on the processes of a cluster."""

import importlib
import multiprocessing
import os
import sys
import time

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=4), pytest.mark.usefixtures("cluster", "registered")]

joblib = pytest.importorskip("joblib")


@pytest.fixture(scope="module")
def registered(engine):
    # The workers of Ray do not find this file.
    pickling = importlib.import_module(f"{engine.name}.cloudpickle")
    pickling.register_pickle_by_value(sys.modules[__name__])
    importlib.import_module(f"{engine.name}.util.joblib").register_ray()


def squares(count, **options):
    return joblib.Parallel(**options)(joblib.delayed(square)(number) for number in range(count))


def square(number):
    return number * number


def refuse(number):
    raise ValueError(f"refused {number}")


def nested_squares(count):
    return os.getpid(), squares(count, n_jobs=2)


def environment_of(name):
    return os.environ.get(name)


class TestParallel:
    def test_results_are_in_the_order_of_the_calls(self):
        with joblib.parallel_backend("ray"):
            assert squares(50) == [number * number for number in range(50)]

    def test_parallel_config_selects_it_as_well(self):
        with joblib.parallel_config("ray", n_jobs=2):
            assert squares(5) == [0, 1, 4, 9, 16]

    def test_it_can_be_selected_for_one_call(self):
        assert squares(5, backend="ray", n_jobs=2) == [0, 1, 4, 9, 16]

    def test_calls_run_in_other_processes(self):
        with joblib.parallel_backend("ray"):
            pids = joblib.Parallel()(joblib.delayed(os.getpid)() for _ in range(8))
        assert os.getpid() not in pids

    def test_one_job_runs_in_this_process(self):
        with joblib.parallel_config("ray"):
            (pid,) = joblib.Parallel(n_jobs=1)(joblib.delayed(os.getpid)() for _ in range(1))
        assert pid == os.getpid()

    def test_the_exception_of_a_call_is_raised(self):
        with joblib.parallel_backend("ray"), pytest.raises(ValueError, match="refused 3"):
            joblib.Parallel()([joblib.delayed(refuse)(3)])

    def test_a_call_after_a_failed_one_works(self):
        with joblib.parallel_config("ray"), joblib.Parallel(n_jobs=2) as parallel:
            with pytest.raises(ValueError):
                parallel([joblib.delayed(refuse)(3)])
            assert parallel(joblib.delayed(square)(number) for number in range(3)) == [0, 1, 4]

    def test_a_timeout_is_kept_to(self):
        with joblib.parallel_config("ray"), pytest.raises(multiprocessing.TimeoutError):
            joblib.Parallel(timeout=0.1, n_jobs=2)([joblib.delayed(time.sleep)(600)] * 2)

    def test_functions_may_be_closures(self):
        offset = 3
        with joblib.parallel_backend("ray"):
            calls = [joblib.delayed(lambda value: value + offset)(number) for number in range(3)]
            assert joblib.Parallel()(calls) == [3, 4, 5]

    def test_calls_may_use_joblib_themselves(self):
        with joblib.parallel_backend("ray"):
            results = joblib.Parallel()(joblib.delayed(nested_squares)(4) for _ in range(3))
        assert [squared for _, squared in results] == [[0, 1, 4, 9]] * 3
        assert os.getpid() not in {pid for pid, _ in results}

    def test_options_of_the_actors(self):
        options = {"runtime_env": {"env_vars": {"COLOUR_OF_THE_TEST": "green"}}}
        with joblib.parallel_config("ray", n_jobs=2, ray_remote_args=options):
            calls = [joblib.delayed(environment_of)("COLOUR_OF_THE_TEST")] * 2
            assert joblib.Parallel()(calls) == ["green", "green"]

    @pytest.mark.parametrize("size", [10, 400_000])
    def test_arrays(self, size):
        numpy = pytest.importorskip("numpy")
        array = numpy.arange(size)
        with joblib.parallel_backend("ray"):
            calls = [joblib.delayed(numpy.sum)(array), joblib.delayed(numpy.max)(a=array)] * 3
            assert joblib.Parallel()(calls) == [array.sum(), size - 1] * 3


class TestJobs:
    def test_all_jobs_are_the_cpus_of_the_cluster(self):
        with joblib.parallel_config("ray"):
            assert joblib.effective_n_jobs(-1) == 4
            assert joblib.effective_n_jobs() == 4

    def test_a_number_is_taken_as_it_is(self):
        with joblib.parallel_config("ray"):
            assert joblib.effective_n_jobs(3) == 3

    def test_no_jobs_are_refused(self):
        with joblib.parallel_config("ray"), pytest.raises(ValueError):
            squares(3, n_jobs=0)

    def test_more_jobs_than_cpus_are_refused(self):
        with joblib.parallel_config("ray"), pytest.raises(ValueError, match="only 4 CPUs"):
            squares(3, n_jobs=5)

    @pytest.mark.whipray_only
    def test_there_are_as_many_as_fit_with_what_they_ask_for(self):
        # On Ray the actors without room wait, and half of the calls with them.
        with joblib.parallel_backend("ray", ray_remote_args={"num_cpus": 2}):
            assert joblib.effective_n_jobs(-1) == 2
            assert squares(6) == [0, 1, 4, 9, 16, 25]

    @pytest.mark.whipray_only
    def test_negative_numbers_count_back_from_all(self):
        with joblib.parallel_config("ray"):
            assert joblib.effective_n_jobs(-2) == 3
            assert joblib.effective_n_jobs(-10) == 1


@pytest.mark.whipray_only
def test_without_joblib_the_message_says_what_to_do(engine, monkeypatch):
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(ImportError, match="pip install joblib"):
        importlib.import_module(f"{engine.name}.util.joblib").register_ray()


@pytest.mark.whipray_only
def test_a_large_array_is_stored_once(ray):
    numpy = pytest.importorskip("numpy")
    from whipray.util.joblib.batch_pool import BatchPool, call_batch

    class Batch:
        def __init__(self, items):
            self.items = items

        def __call__(self):
            return [function(*args, **named) for function, args, named in self.items]

    array = numpy.ones(1000)
    with BatchPool(1, None, max_nbytes=100) as pool:
        items = [(numpy.sum, (array,), {}), (numpy.sum, (), {"a": array}), (abs, (-1,), {})]
        changed = pool._with_stored(Batch(items))
        assert len({id(value) for _, args, named in changed.items[:2] for value in args}) == 1
        assert len(pool._stored) == 1
        assert call_batch(changed, (), {}) == [1000, 1000, 1]
