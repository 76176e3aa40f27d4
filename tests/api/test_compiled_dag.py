"""Compiled graphs: methods of living actors, executed again and again."""

import asyncio
import copy
import importlib
import pickle
import time

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=4), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def dag(engine):
    return importlib.import_module(f"{engine.name}.dag")


@pytest.fixture(scope="module")
def errors(engine):
    return importlib.import_module(f"{engine.name}.exceptions")


@pytest.fixture
def make(ray, request):
    """Makes an actor that ends with the test."""

    @ray.remote(num_cpus=0)
    class Stage:
        def __init__(self):
            self.total = 0

        def add(self, number):
            self.total += number
            return self.total

        def same(self, value):
            return value

        def sum(self, first, second):
            return first + second

        def fail(self, value):
            raise KeyError(value)

        def sleep(self, seconds):
            time.sleep(seconds)
            return seconds

        @ray.method(num_returns=2)
        def split(self, value):
            return value, -value

    return Stage.remote


@pytest.fixture
def compiled(dag, request):
    """`compiled(bind, **options)`: a graph of one input, which ends with the test."""

    def compile(bind, **options):
        with dag.InputNode() as inputs:
            node = bind(inputs)
        graph = node.experimental_compile(**options)
        request.addfinalizer(graph.teardown)
        return graph

    return compile


class TestExecute:
    def test_an_actor_keeps_its_state(self, make, compiled, get):
        stage = make()
        graph = compiled(stage.add.bind)
        assert [get(graph.execute(number)) for number in (1, 2, 3)] == [1, 3, 6]

    def test_values_go_from_actor_to_actor(self, make, compiled, get):
        first, second = make(), make()
        graph = compiled(lambda value: second.sum.bind(first.same.bind(value), 10))
        assert get(graph.execute(5)) == 15

    def test_executions_overlap_and_results_may_be_had_in_any_order(self, make, compiled, get):
        stage = make()
        graph = compiled(stage.add.bind)
        results = [graph.execute(1) for _ in range(4)]
        assert [get(results[place]) for place in (3, 0, 2, 1)] == [4, 1, 3, 2]

    def test_a_list_of_results(self, make, compiled, get):
        graph = compiled(make().add.bind)
        assert get([graph.execute(1), graph.execute(1)]) == [1, 2]

    def test_several_outputs(self, dag, make, compiled, get):
        first, second = make(), make()
        graph = compiled(
            lambda value: dag.MultiOutputNode([first.same.bind(value), second.add.bind(value)])
        )
        assert get(graph.execute(4)) == [4, 4]
        one, other = graph.execute(5)
        assert (get(other), get(one)) == (9, 5)

    def test_methods_with_several_results(self, dag, make, compiled, get):
        first, second = make(), make()

        def bind(value):
            positive, negative = first.split.bind(value)
            return dag.MultiOutputNode([positive, second.same.bind(negative)])

        assert get(compiled(bind).execute(3)) == [3, -3]

    def test_several_inputs(self, make, compiled, get):
        graph = compiled(lambda inputs: make().sum.bind(inputs[0], inputs.second))
        assert get(graph.execute(1, second=2)) == 3
        with pytest.raises(ValueError, match="kwarg `second`"):
            graph.execute(1)
        with pytest.raises(ValueError, match="1 positional args, got 2"):
            graph.execute(1, 2, second=2)

    @pytest.mark.parametrize("args", [(), (1, 2)])
    def test_one_input_is_one_argument(self, make, compiled, args):
        graph = compiled(make().same.bind)
        with pytest.raises(ValueError, match="must be called with 1 positional args"):
            graph.execute(*args)

    def test_large_values_for_several_actors(self, dag, make, compiled, get):
        numpy = pytest.importorskip("numpy")
        stages = [make(), make()]
        graph = compiled(
            lambda value: dag.MultiOutputNode([stage.same.bind(value) for stage in stages])
        )
        first, second = get(graph.execute(numpy.arange(50_000)))
        assert first.sum() == second.sum() == 49_999 * 25_000

    def test_actors_can_be_called_meanwhile(self, make, compiled, get):
        stage = make()
        graph = compiled(stage.add.bind)
        assert get(graph.execute(1)) == 1
        assert get(stage.same.remote(5)) == 5
        graph.teardown()
        assert get(stage.add.remote(1)) == 2


class TestErrors:
    def test_the_exception_of_a_method_is_raised(self, make, compiled, get):
        graph = compiled(make().fail.bind)
        for _ in range(2):
            with pytest.raises(KeyError):
                get(graph.execute("refused"))

    def test_it_goes_through_the_stages_behind(self, make, compiled, get):
        first, second = make(), make()
        graph = compiled(lambda value: second.same.bind(first.fail.bind(value)))
        with pytest.raises(KeyError):
            get(graph.execute("refused"))

    def test_a_result_can_be_had_once(self, make, compiled, get):
        result = compiled(make().same.bind).execute(1)
        assert get(result) == 1
        with pytest.raises(ValueError, match="can only be called once"):
            get(result)

    def test_a_timeout(self, ray, errors, make, compiled):
        graph = compiled(make().sleep.bind)
        with pytest.raises(errors.RayChannelTimeoutError):
            ray.get(graph.execute(1), timeout=0.01)

    def test_too_many_executions(self, errors, make, compiled, get):
        graph = compiled(make().same.bind, _max_inflight_executions=2)
        first, second = graph.execute(1), graph.execute(2)
        with pytest.raises(errors.RayCgraphCapacityExceeded, match="more than 2 in-flight"):
            graph.execute(3)
        assert get(first) == 1
        third = graph.execute(3)
        assert (get(second), get(third)) == (2, 3)

    def test_too_many_results_that_wait(self, errors, make, compiled, get):
        graph = compiled(make().same.bind, _max_buffered_results=1)
        results = [graph.execute(number) for number in range(4)]
        with pytest.raises(errors.RayCgraphCapacityExceeded, match="more than 1 buffered"):
            get(results[3])
        assert get(results[0]) == 0

    def test_a_result_that_is_dropped_makes_room(self, make, compiled, get):
        graph = compiled(make().same.bind, _max_inflight_executions=1)
        graph.execute(1)
        assert get(graph.execute(2)) == 2

    def test_after_the_teardown(self, errors, make, compiled, get):
        graph = compiled(make().same.bind)
        result = graph.execute(1)
        assert not graph.is_teardown
        graph.teardown()
        assert graph.is_teardown
        graph.teardown()
        with pytest.raises(errors.RayChannelError):
            graph.execute(1)
        with pytest.raises(errors.RayChannelError):
            get(result)

    def test_teardown_may_end_the_actors(self, errors, make, compiled, get):
        stage = make()
        compiled(stage.same.bind).teardown(kill_actors=True)
        with pytest.raises(errors.RayActorError):
            get(stage.same.remote(1))


class TestResults:
    def test_they_stay_where_they_are(self, ray, make, compiled):
        result = compiled(make().same.bind).execute(1)
        with pytest.raises(ValueError):
            copy.copy(result)
        with pytest.raises(ValueError):
            copy.deepcopy(result)
        with pytest.raises(ValueError, match="CompiledDAGRef cannot be pickled"):
            pickle.dumps(result)
        for argument in (result, [result]):
            with pytest.raises(TypeError, match="cannot be used as Ray") as raised:
                make().same.remote(argument)
            assert "Lock" not in str(raised.value), "what it consists of is not the reason"
        with pytest.raises(TypeError):
            ray.wait([result])

    def test_they_are_not_mixed_with_references(self, ray, make, compiled):
        result = compiled(make().same.bind).execute(1)
        with pytest.raises(ValueError, match="must be a list of CompiledDAGRefs"):
            ray.get([result, ray.put(1)])

    def test_their_text_says_which_they_are(self, make, compiled, get):
        graph = compiled(make().same.bind)
        result = graph.execute(1)
        assert str(result) == (
            f"CompiledDAGRef({graph.get_id()}, execution_index=0, channel_index=None)"
        )
        assert str(graph) == f"CompiledDAG({graph.get_id()})"
        assert result.get() == 1


class TestAsyncio:
    def test_results_are_awaited(self, dag, make, get):
        stage = make()

        async def scenario():
            with dag.InputNode() as value:
                node = stage.add.bind(value)
            graph = node.experimental_compile(enable_asyncio=True)
            futures = [await graph.execute_async(1) for _ in range(3)]
            values = await asyncio.gather(*futures)
            with pytest.raises(ValueError, match="only be awaited upon once"):
                await futures[0]
            with pytest.raises(ValueError, match="execute_async"):
                graph.execute(1)
            graph.teardown()
            return values

        assert asyncio.run(scenario()) == [1, 2, 3]

    def test_it_is_chosen_when_the_graph_is_compiled(self, make, compiled):
        graph = compiled(make().same.bind)
        with pytest.raises(ValueError, match="Use execute"):
            asyncio.run(graph.execute_async(1))


class TestCompile:
    def test_functions_are_refused(self, ray, compiled):
        with pytest.raises(NotImplementedError):
            compiled(ray.remote(lambda value: value).bind)

    def test_actors_must_live(self, ray, compiled):
        @ray.remote
        class Stage:
            def same(self, value):
                return value

        with pytest.raises(ValueError, match="already created"):
            compiled(lambda value: Stage.bind().same.bind(value))

    def test_every_call_needs_an_input(self, ray, make):
        with pytest.raises(ValueError, match="No InputNode"):
            make().same.bind(1).experimental_compile()
        with pytest.raises(ValueError, match="No InputNode"):
            ray.remote(lambda value: value).bind(1).experimental_compile()

    def test_inputs_are_no_outputs(self, make, compiled):
        with pytest.raises(AssertionError):
            compiled(lambda value: value)

    def test_nodes_inside_of_containers_are_refused(self, make, compiled):
        with pytest.raises(ValueError, match="container"):
            compiled(lambda value: make().same.bind([value]))

    def test_every_call_leads_to_an_output(self, make, compiled):
        def bind(value):
            make().same.bind(value)
            return make().add.bind(value)

        with pytest.raises(ValueError, match=r"leaf nodes.*\['same'\]"):
            compiled(bind)

    def test_a_graph_is_compiled_once(self, dag, make, request):
        with dag.InputNode() as value:
            node = make().same.bind(value)
        request.addfinalizer(node.experimental_compile().teardown)
        with pytest.raises(ValueError, match="multiple times"):
            node.experimental_compile()


@pytest.mark.whipray_only
def test_a_graph_whose_actor_died_is_over(ray, errors, make, compiled, get):
    stage = make()
    graph = compiled(stage.same.bind)
    ray.kill(stage)
    with pytest.raises(errors.ActorDiedError):
        get(graph.execute(1))
    with pytest.raises(errors.RayChannelError):
        graph.execute(1)
