"""Graphs of calls: bind, execute, inputs and outputs, and what can be done with nodes."""

import asyncio
import importlib

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=4), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def dag(engine):
    return importlib.import_module(f"{engine.name}.dag")


@pytest.fixture(scope="module")
def add(ray):
    @ray.remote
    def add(first, second=1):
        return first + second

    return add


@pytest.fixture(scope="module")
def Counter(ray):
    @ray.remote
    class Counter:
        def __init__(self, value=0):
            self.value = value

        def add(self, number):
            self.value += number
            return self.value

        def read(self):
            return self.value

        @ray.method(num_returns=2)
        def both(self):
            return self.value, -self.value

    return Counter


class TestFunctions:
    def test_a_call_is_made_when_the_node_is_executed(self, add, get):
        assert get(add.bind(1, second=2).execute()) == 3

    def test_nodes_are_arguments_of_others(self, add, get):
        assert get(add.bind(add.bind(1, 2), second=add.bind(3, 4)).execute()) == 10

    def test_references_are_arguments_too(self, ray, add, get):
        assert get(add.bind(ray.put(5)).execute()) == 6

    def test_a_node_that_several_need_runs_once(self, ray, get, add, Counter):
        counter = Counter.remote()

        @ray.remote
        def count(counter):
            return ray.get(counter.add.remote(1))

        shared = count.bind(counter)
        assert get(add.bind(shared, shared).execute()) == 2
        assert get(counter.read.remote()) == 1

    def test_each_execution_makes_the_calls_again(self, get, ray, Counter):
        counter = Counter.remote()

        @ray.remote
        def count(counter):
            return ray.get(counter.add.remote(1))

        node = count.bind(counter)
        assert [get(node.execute()), get(node.execute())] == [1, 2]

    def test_nodes_inside_of_containers_become_references(self, ray, add, get):
        @ray.remote
        def total(values):
            return sum(ray.get([*values["list"], values["nested"]["one"]]))

        values = {"list": [add.bind(1), add.bind(2)], "nested": {"one": add.bind(3)}}
        assert get(total.bind(values).execute()) == 2 + 3 + 4

    def test_options_are_kept(self, ray, get):
        @ray.remote
        def resources():
            return ray.get_runtime_context().get_assigned_resources().get("CPU")

        node = resources.options(num_cpus=2).bind()
        assert node.get_options()["num_cpus"] == 2
        assert get(node.execute()) == 2

    def test_an_exception_goes_through_the_graph(self, ray, add, get):
        @ray.remote
        def refuse():
            raise KeyError("refused")

        with pytest.raises(KeyError):
            get(add.bind(refuse.bind()).execute())

    def test_a_node_cannot_be_called(self, add):
        node = add.bind(1)
        with pytest.raises(TypeError):
            node()
        with pytest.raises(AttributeError, match="remote"):
            node.remote()
        with pytest.raises(AttributeError, match="bind"):
            node.bind()


class TestActors:
    def test_an_actor_of_the_graph_is_new_at_each_execution(self, Counter, get):
        node = Counter.bind(5).add.bind(2)
        assert [get(node.execute()), get(node.execute())] == [7, 7]

    def test_a_class_node_gives_a_handle(self, ray, Counter, get):
        counter = Counter.bind(5).execute()
        assert isinstance(counter, ray.actor.ActorHandle)
        assert get(counter.read.remote()) == 5

    def test_constructors_take_nodes(self, add, Counter, get):
        assert get(Counter.bind(add.bind(2, 2)).read.bind().execute()) == 4

    def test_methods_run_in_the_order_in_which_they_were_bound(self, Counter, get):
        counter = Counter.bind()
        counter.add.bind(1)
        counter.add.bind(10)
        assert get(counter.read.bind().execute()) == 11

    def test_methods_of_living_actors(self, Counter, get):
        counter = Counter.remote(10)
        node = counter.add.bind(1)
        assert [get(node.execute()), get(node.execute())] == [11, 12]

    def test_a_living_actor_refuses_what_its_method_does_not_take(self, Counter):
        with pytest.raises(TypeError, match="missing a required argument"):
            Counter.remote().add.bind()

    def test_several_results_are_several_nodes(self, add, Counter, get):
        positive, negative = Counter.remote(4).both.bind()
        assert positive.is_class_method_output and not positive.is_class_method_call
        assert (negative.output_idx, negative.class_method_call.num_returns) == (1, 2)
        assert get(add.bind(negative, 1).execute()) == -3

    def test_what_the_class_does_not_have_is_no_method(self, Counter):
        with pytest.raises(AttributeError):
            Counter.bind().missing

    def test_methods_of_a_class_node_are_bound_not_called(self, Counter):
        with pytest.raises(AttributeError, match="bind"):
            Counter.bind().add.remote(1)
        with pytest.raises(TypeError):
            Counter.bind().add(1)

    def test_options(self, ray, Counter, get):
        node = Counter.options(name="counter of a graph").bind(3)
        handle = node.execute()
        assert get(ray.get_actor("counter of a graph").read.remote()) == 3
        del handle
        assert Counter.bind().add.options(name="adding").bind(1).get_options() == {"name": "adding"}


class TestInputs:
    def test_one_argument(self, dag, add, get):
        with dag.InputNode() as value:
            node = add.bind(value, 3)
        assert [get(node.execute(4)), get(node.execute(5))] == [7, 8]

    def test_several_arguments_by_number_and_by_name(self, dag, add, get):
        with dag.InputNode() as inputs:
            node = add.bind(inputs[0], inputs.step)
        assert get(node.execute(4, step=5)) == 9
        with pytest.raises(KeyError):
            node.execute(4, 5)
        with pytest.raises(IndexError):
            node.execute(step=5)

    def test_parts_of_one_argument(self, dag, add, get):
        class Point:
            x, y = 1, 2

        with dag.InputNode() as inputs:
            by_key = add.bind(inputs["x"], inputs["y"])
            by_number = add.bind(inputs[0], inputs[1])
        with dag.InputNode() as inputs:
            by_name = add.bind(inputs.x, inputs.y)
        assert get(by_key.execute({"x": 1, "y": 2})) == 3
        assert get(by_key.execute(x=1, y=2)) == 3
        assert get(by_number.execute([1, 2])) == 3
        assert get(by_name.execute(Point())) == 3

    def test_what_they_are(self, dag):
        with dag.InputNode() as inputs:
            assert (inputs[0].key, inputs.name.key) == (0, "name")
            assert isinstance(inputs["key"], dag.InputAttributeNode)
        with pytest.raises(ValueError):
            dag.InputNode(1)

    def test_an_input_is_made_by_a_with_statement(self, dag, add):
        with pytest.raises(AssertionError):
            add.bind(dag.InputNode()).execute(1)

    def test_an_input_is_selected_by_a_number_or_a_name(self, dag):
        with dag.InputNode() as given:
            with pytest.raises(AssertionError, match="int index or str"):
                given[1, 2]

    def test_two_inputs_are_refused(self, dag, add):
        with dag.InputNode() as first, dag.InputNode() as second:
            node = add.bind(first, second)
        with pytest.raises(AssertionError):
            node.execute(1)


class TestOutputs:
    def test_several_results(self, dag, add, get):
        with dag.InputNode() as value:
            first = add.bind(value, 1)
            node = dag.MultiOutputNode([first, add.bind(first, 1)])
        assert get(node.execute(1)) == [2, 3]
        assert dag.MultiOutputNode([]).execute() == []

    def test_outputs_are_a_list(self, dag, add):
        with pytest.raises(ValueError):
            dag.MultiOutputNode(add.bind(1))


class TestNodes:
    def test_what_was_bound(self, dag, add):
        node = add.bind(1, second=2)
        assert isinstance(node, dag.DAGNode) and isinstance(node, dag.FunctionNode)
        assert tuple(node.get_args()) == (1,)
        assert node.get_kwargs() == {"second": 2}
        assert node.get_other_args_to_resolve() == {}

    def test_copies_are_the_same_node(self, ray, add):
        node = add.bind(1)
        changed = node._copy([5], {}, {}, {})
        assert list(changed.get_args()) == [5]
        assert changed.get_stable_uuid() == node.get_stable_uuid()
        assert node != add.bind(1)
        travelled = ray.cloudpickle.loads(ray.cloudpickle.dumps(node))
        assert travelled.get_stable_uuid() == node.get_stable_uuid()

    def test_a_function_is_applied_from_the_leaves_on(self, add):
        shared = add.bind(1, 2)
        node = add.bind(shared, [shared, {"key": add.bind(3, 4)}])
        seen = []

        def replaced(node):
            seen.append(node)
            return list(node.get_args())

        assert node.apply_recursive(replaced) == [[1, 2], [[1, 2], {"key": [3, 4]}]]
        assert len(seen) == 3

    def test_nodes_inside_of_objects_are_found(self, add):
        class Holder:
            def __init__(self, held):
                self.held = held

        node = add.bind(Holder([add.bind(1, 2)]))
        (holder,) = node.apply_recursive(lambda node: list(node.get_args()))
        assert holder.held == [[1, 2]]

    @pytest.mark.whipray_only
    def test_what_is_not_a_node_stays_what_it_is(self, add):
        value = object()
        (given,) = add.bind(value).apply_recursive(lambda node: list(node.get_args()))
        assert given is value

    def test_the_whole_graph_can_be_visited(self, dag, add):
        with dag.InputNode() as value:
            node = add.bind(add.bind(value))
        names = []
        node.traverse_and_apply(lambda node: names.append(type(node).__name__))
        assert sorted(names) == ["FunctionNode", "FunctionNode", "InputNode"]

    def test_references_of_an_execution_can_be_kept(self, add, get):
        child = add.bind(1, 1)
        node = add.bind(child, 1)
        node.execute()
        assert asyncio.run(node.get_object_refs_from_last_execute()) == {}
        node.execute(_ray_cache_refs=True)
        references = asyncio.run(node.get_object_refs_from_last_execute())
        values = {uuid: get(reference) for uuid, reference in references.items()}
        assert values == {child.get_stable_uuid(): 2, node.get_stable_uuid(): 3}

    def test_the_text_has_all_that_was_bound(self, dag, add, Counter):
        with dag.InputNode() as inputs:
            node = Counter.bind(7).add.bind(add.bind(inputs.name, 12345))
        text = str(node)
        assert text.startswith(f"(ClassMethodNode, {node.get_stable_uuid()})(\n    body=add()\n")
        for part in ("(FunctionNode, ", "(ClassNode, ", "__InputNode__", '["name"]', "12345"):
            assert part in text
        assert "__MultiOutputNode__" in str(dag.MultiOutputNode([node]))


@pytest.mark.whipray_only
def test_a_graph_may_be_deeper_than_the_stack(add, get):
    node = add.bind(0)
    for _ in range(1500):
        node = add.options(num_cpus=0).bind(node)
    texts = []
    node.apply_recursive(lambda node: texts.append(node))
    assert len(texts) == 1501
