"""util.multiprocessing.Pool: the standard library's pool on the processes of a cluster."""

import importlib
import multiprocessing
import os
import sys
import threading

import pytest
from harness.waiting import GENEROUS_SECONDS, until

pytestmark = [pytest.mark.cluster(num_cpus=4), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def module(engine):
    # The workers of Ray do not find this file.
    pickling = importlib.import_module(f"{engine.name}.cloudpickle")
    pickling.register_pickle_by_value(sys.modules[__name__])
    return importlib.import_module(f"{engine.name}.util.multiprocessing")


@pytest.fixture
def pool(module):
    with module.Pool(2) as pool:
        yield pool


def double(value):
    return 2 * value


def process_id(_=None):
    return os.getpid()


def refuse(value):
    raise ValueError(f"refused {value}")


def refuse_one(value):
    return refuse(value) if value == 1 else value


def described(first, second="-", *, third="-"):
    return f"{first}{second}{third}"


def wait_for(path):
    import time

    while not os.path.exists(path):
        time.sleep(0.01)
    return path


@pytest.fixture
def gate(tmp_path):
    """A path; `open()` of it lets the calls go on that wait for it."""

    class Gate:
        path = str(tmp_path / "gate")

        def open(self):
            open(self.path, "w").close()

    return Gate()


class TestMap:
    def test_results_are_in_the_order_of_the_items(self, pool):
        assert pool.map(double, range(100)) == [2 * number for number in range(100)]

    @pytest.mark.parametrize("chunksize", [1, 3, 100])
    def test_any_chunksize_gives_the_same_results(self, pool, chunksize):
        items = iter(range(10))
        assert pool.map(double, items, chunksize=chunksize) == list(range(0, 20, 2))

    def test_nothing_gives_nothing(self, pool):
        assert pool.map(double, []) == []

    def test_the_exception_of_a_call_is_raised(self, pool):
        with pytest.raises(ValueError, match="refused 1"):
            pool.map(refuse_one, range(4))

    def test_what_the_iterable_raises_is_raised(self, pool):
        def items():
            yield 1
            raise KeyError("no more")

        with pytest.raises(KeyError):
            pool.map(double, items())

    @pytest.mark.parametrize("chunksize", [0, -1])
    def test_a_chunk_has_at_least_one_item(self, pool, chunksize):
        with pytest.raises(AssertionError):
            pool.map(double, [1], chunksize=chunksize)

    @pytest.mark.whipray_only
    def test_an_item_that_cannot_travel_fails_its_call_alone(self, pool):
        # The batch was taken out of the queue and never counted as settled, and every later call
        # raised the error of this one.
        class Stuck:
            def __reduce__(self):
                raise RuntimeError("cannot travel")

        errors = []
        with pytest.raises(RuntimeError, match="cannot travel"):
            pool.map(type, [1, Stuck(), 2, Stuck()], chunksize=1)
        pool.map_async(type, [Stuck()] * 9, error_callback=errors.append).wait(GENEROUS_SECONDS)
        assert [str(error) for error in errors] == ["cannot travel"]
        assert pool.map(double, range(3)) == [0, 2, 4]

    @pytest.mark.whipray_only
    def test_the_traceback_of_the_call_is_the_cause(self, pool):
        with pytest.raises(ValueError) as caught:
            pool.map(refuse, [1])
        assert 'raise ValueError(f"refused {value}")' in str(caught.value.__cause__)

    def test_what_is_not_iterable_is_refused(self, pool):
        with pytest.raises(TypeError):
            pool.map(double, 3)

    def test_functions_may_be_closures(self, pool):
        offset = 5
        assert pool.map(lambda value: value + offset, [1, 2]) == [6, 7]

    def test_a_function_may_drag_much_along(self, pool):
        table = list(range(20_000))
        assert pool.map(lambda index: table[index], [3, 19_999], chunksize=1) == [3, 19_999]

    def test_a_function_is_taken_as_it_is_at_the_call(self, pool):
        state = {"factor": 2}
        scaled = lambda value: value * state["factor"]  # noqa: E731
        assert pool.map(scaled, [1]) == [2]
        state["factor"] = 3
        assert pool.map(scaled, [1]) == [3]

    def test_starmap_spreads_the_items(self, pool):
        assert pool.starmap(described, [(1, 2), (3,)]) == ["12-", "3--"]

    @pytest.mark.whipray_only
    def test_short_batches_do_not_wait_behind_a_long_one(self, pool, gate):
        """Ray deals the batches out beforehand."""
        waiting = pool.map_async(wait_for, [gate.path])
        assert pool.map(double, range(20), chunksize=1) == list(range(0, 40, 2))
        gate.open()
        assert waiting.get(GENEROUS_SECONDS) == [gate.path]


class TestApply:
    def test_arguments_and_names_arrive(self, pool):
        assert pool.apply(described, (1,), {"third": 3}) == "1-3"
        assert pool.apply(described, [1, 2]) == "12-"

    def test_there_may_be_no_arguments(self, pool):
        assert pool.apply(process_id) != os.getpid()

    def test_the_exception_is_raised(self, pool):
        with pytest.raises(ValueError, match="refused 7"):
            pool.apply(refuse, (7,))

    def test_references_stay_references(self, ray, pool):
        assert pool.apply(lambda value: type(value).__name__, (ray.put(1),)) == "ObjectRef"


class TestAsyncResult:
    def test_it_is_not_ready_before_the_call_is_over(self, module, pool, gate):
        result = pool.apply_async(wait_for, (gate.path,))
        assert not result.ready()
        with pytest.raises(ValueError, match="not ready"):
            result.successful()
        with pytest.raises(module.TimeoutError):
            result.get(timeout=0.05)
        result.wait(timeout=0.05)
        gate.open()
        result.wait(GENEROUS_SECONDS)
        assert result.ready()
        assert result.successful()
        assert result.get() == gate.path

    def test_a_failed_call_is_ready_and_unsuccessful(self, pool):
        result = pool.apply_async(refuse, (3,))
        result.wait(GENEROUS_SECONDS)
        assert result.ready()
        assert not result.successful()
        for _ in range(2):
            with pytest.raises(ValueError, match="refused 3"):
                result.get()

    def test_many_calls_at_once(self, pool):
        results = [pool.apply_async(double, (number,)) for number in range(200)]
        assert [result.get(GENEROUS_SECONDS) for result in results] == list(range(0, 400, 2))

    def test_the_timeout_error_is_that_of_the_standard_library(self, module):
        assert module.TimeoutError is multiprocessing.TimeoutError


class TestCallbacks:
    def test_the_callback_gets_the_result_in_another_thread(self, pool):
        seen = []
        result = pool.apply_async(
            double, (4,), callback=lambda value: seen.append((value, threading.get_ident()))
        )
        assert result.get(GENEROUS_SECONDS) == 8
        until(lambda: seen, "the callback")
        assert seen[0][0] == 8
        assert seen[0][1] != threading.get_ident()

    def test_the_error_callback_gets_the_error(self, pool):
        seen, results = [], []
        result = pool.apply_async(refuse, (4,), callback=results.append, error_callback=seen.append)
        result.wait(GENEROUS_SECONDS)
        until(lambda: seen, "the callback")
        assert str(seen[0]) == "refused 4"
        assert not results

    @pytest.mark.whipray_only
    def test_the_error_callback_gets_what_the_call_raised(self, pool):
        """As in the standard library; Ray hands its wrapper around."""
        seen = []
        pool.map_async(refuse, [1, 2], error_callback=seen.append).wait(GENEROUS_SECONDS)
        assert [type(error) for error in seen] == [ValueError]

    @pytest.mark.whipray_only
    def test_results_are_in_order_and_called_back_before_the_wait_ends(self, pool):
        """Ray gives the callback the batches as they come."""
        seen = []
        pool.map_async(double, range(20), chunksize=1, callback=seen.append).wait(GENEROUS_SECONDS)
        assert seen == [list(range(0, 40, 2))]

    def test_a_call_of_nothing_calls_back(self, pool):
        seen = []
        pool.map_async(double, [], callback=seen.append).wait(GENEROUS_SECONDS)
        until(lambda: seen == [[]], "the callback")

    def test_starmap_has_callbacks_as_well(self, pool):
        seen = []
        result = pool.starmap_async(described, [(1,)], callback=seen.append)
        assert result.get(GENEROUS_SECONDS) == ["1--"]
        until(lambda: seen == [["1--"]], "the callback")

    @pytest.mark.whipray_only
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_a_callback_that_raises_does_not_keep_others_from_running(self, pool):
        seen = []
        pool.apply_async(double, (1,), callback=lambda value: 1 / 0).wait(GENEROUS_SECONDS)
        pool.apply_async(double, (2,), callback=seen.append).wait(GENEROUS_SECONDS)
        assert seen == [4]


class TestIterators:
    @pytest.mark.parametrize("chunksize", [1, 3])
    def test_imap_keeps_the_order(self, pool, chunksize):
        results = pool.imap(double, range(10), chunksize=chunksize)
        assert results.next() == 0
        assert next(results) == 2
        assert list(results) == list(range(4, 20, 2))
        with pytest.raises(StopIteration):
            results.next()

    def test_imap_unordered_gives_all(self, pool):
        results = pool.imap_unordered(double, range(50), chunksize=2)
        assert sorted(results) == list(range(0, 100, 2))

    def test_imap_unordered_gives_first_what_is_there_first(self, module, pool, gate):
        def wait_for_the_first(value):
            return wait_for(gate.path) if value == 0 else value

        results = pool.imap_unordered(wait_for_the_first, [0, 1])
        assert results.next(timeout=GENEROUS_SECONDS) == 1
        with pytest.raises(module.TimeoutError):
            results.next(timeout=0.05)
        gate.open()
        assert results.next(timeout=GENEROUS_SECONDS) == gate.path

    def test_a_timeout_loses_nothing(self, module, pool, gate):
        results = pool.imap(wait_for, [gate.path])
        with pytest.raises(module.TimeoutError):
            results.next(timeout=0.05)
        gate.open()
        assert results.next(timeout=GENEROUS_SECONDS) == gate.path

    @pytest.mark.parametrize("name", ["imap", "imap_unordered"])
    def test_items_are_taken_as_they_are_needed(self, pool, name):
        taken = []

        def numbers():
            number = 0
            while True:
                taken.append(number)
                yield number
                number += 1

        results = getattr(pool, name)(double, numbers())
        assert {next(results), next(results)} <= {0, 2, 4, 6}
        assert len(taken) < 10_000

    @pytest.mark.whipray_only
    @pytest.mark.parametrize("name", ["imap", "imap_unordered"])
    def test_a_call_that_failed_raises_in_its_turn(self, pool, name):
        """As in the standard library; with Ray the iterator gives its wrapper as a result."""
        results = getattr(pool, name)(refuse_one, range(3), chunksize=3)
        assert next(results) == 0
        with pytest.raises(ValueError, match="refused 1"):
            next(results)
        assert next(results) == 2

    @pytest.mark.whipray_only
    @pytest.mark.parametrize("name", ["imap", "imap_unordered"])
    def test_what_the_iterable_raises_comes_after_the_results_before(self, pool, name):
        # It was raised where the items were taken, at times by imap itself.
        def items():
            yield from range(3)
            raise KeyError("no more")

        results = getattr(pool, name)(double, items())
        assert sorted(next(results) for _ in range(3)) == [0, 2, 4]
        with pytest.raises(KeyError):
            next(results)
        with pytest.raises(StopIteration):
            next(results)


class TestProcesses:
    def test_there_are_as_many_as_asked_for(self, module):
        with module.Pool(1) as pool:
            assert len(set(pool.map(process_id, range(20), chunksize=1))) == 1

    def test_as_many_as_the_cluster_has_cpus_by_default(self, module):
        with module.Pool() as pool:
            found = set()
            until(
                lambda: (
                    len(found.update(pool.map(process_id, range(40), chunksize=1)) or found) == 4
                ),
                "four processes",
            )

    @pytest.mark.parametrize("processes", [0, -1, 5])
    def test_impossible_numbers_are_refused(self, module, processes):
        with pytest.raises(ValueError):
            module.Pool(processes)

    def test_the_initializer_runs_in_each_of_them(self, module):
        def remember(value):
            import builtins

            builtins.remembered = value

        def recall(_):
            import builtins

            return builtins.remembered

        with module.Pool(2, initializer=remember, initargs=("x",)) as pool:
            assert pool.map(recall, range(10)) == ["x"] * 10

    def test_the_initializer_has_run_in_all_of_them_once_there_is_a_pool(self, module, tmp_path):
        def leave_a_file(folder):
            (folder / str(os.getpid())).touch()

        with module.Pool(2, initializer=leave_a_file, initargs=(tmp_path,)):
            assert len(list(tmp_path.iterdir())) == 2

    def test_an_initializer_that_fails_fails_the_pool(self, ray, module):
        with pytest.raises(ray.exceptions.RayActorError):
            module.Pool(1, initializer=refuse, initargs=(1,))

    def test_they_are_replaced_after_so_many_batches(self, module):
        with module.Pool(1, maxtasksperchild=2) as pool:
            assert len(set(pool.map(process_id, range(8), chunksize=1))) == 4
            assert len(set(pool.map(process_id, range(8), chunksize=4))) == 1

    def test_their_options_are_those_of_actors(self, ray, module):
        before = ray.cluster_resources()["CPU"]
        with module.Pool(1, ray_remote_args={"num_cpus": 1}) as pool:
            pool.apply(process_id)
            until(lambda: ray.available_resources().get("CPU") == before - 1, "the CPU taken")

    @pytest.mark.whipray_only
    def test_one_that_dies_is_replaced(self, ray, module):
        """With Ray every later call of the pool fails."""
        with module.Pool(1) as pool:
            with pytest.raises(ray.exceptions.RayActorError):
                pool.apply(os._exit, (3,))
            assert pool.apply(double, (2,)) == 4

    def test_a_task_may_have_a_pool(self, ray, engine, get):
        name = engine.name

        @ray.remote
        def nested():
            pools = importlib.import_module(f"{name}.util.multiprocessing")
            with pools.Pool(1) as pool:
                return pool.map(lambda value: value + 1, [1, 2])

        assert get(nested.remote()) == [2, 3]


class TestTheEnd:
    def test_join_needs_close_or_terminate(self, pool):
        with pytest.raises(ValueError, match="still running"):
            pool.join()

    def test_a_closed_pool_finishes_what_it_has(self, module):
        pool = module.Pool(2)
        result = pool.map_async(double, range(20), chunksize=1)
        pool.close()
        pool.close()
        for call in (pool.map, pool.imap, pool.imap_unordered, pool.starmap):
            with pytest.raises(ValueError, match="not running"):
                call(double, [1])
        with pytest.raises(ValueError, match="not running"):
            pool.apply(double, (1,))
        pool.join()
        assert result.get(GENEROUS_SECONDS) == list(range(0, 40, 2))

    def test_terminate_ends_calls_under_way(self, ray, module, gate):
        pool = module.Pool(1)
        result = pool.apply_async(wait_for, (gate.path,))
        pool.terminate()
        pool.join()
        with pytest.raises(ray.exceptions.RayActorError):
            result.get(GENEROUS_SECONDS)

    @pytest.mark.whipray_only
    def test_terminate_fails_calls_that_were_not_sent(self, ray, module, gate):
        pool = module.Pool(1)
        result = pool.map_async(wait_for, [gate.path] * 10, chunksize=1)
        pool.terminate()
        with pytest.raises((ValueError, ray.exceptions.RayActorError)):
            result.get(GENEROUS_SECONDS)

    def test_leaving_the_context_terminates(self, module):
        with module.Pool(1) as pool:
            pool.apply(double, (1,))
        with pytest.raises(ValueError, match="not running"):
            pool.map(double, [1])

    @pytest.mark.whipray_only
    def test_pools_do_not_travel(self, ray, pool):
        with pytest.raises((NotImplementedError, TypeError)):
            ray.put(pool)
