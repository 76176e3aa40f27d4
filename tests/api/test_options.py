"""Wrong names and values of options: refused where they are written, naming what is allowed."""

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=1), pytest.mark.usefixtures("cluster")]

NAN, INFINITY = float("nan"), float("inf")

COMMON = [
    ({"num_cpus": NAN}, ValueError, None),
    ({"memory": INFINITY}, OverflowError, None),
    ({"resources": {"gold": -1}}, ValueError, "gold"),
    ({"resources": {"gold": "1"}}, TypeError, None),
    ({"accelerator_type": 1}, TypeError, "The type of keyword 'accelerator_type' must be"),
    ({"enable_task_events": None}, TypeError, "The type of keyword 'enable_task_events' must be"),
    ({"_labels": "x"}, TypeError, "The type of keyword '_labels' must be"),
    ({"_metadata": {}}, ValueError, "Invalid option keyword _metadata"),
    ({"placement_group_bundle_index": "0"}, TypeError, "placement_group_bundle_index"),
    ({"label_selector": "x"}, TypeError, "The type of keyword 'label_selector' must be"),
    ({"num_cpus": -1}, ValueError, "num_cpus cannot be negative"),
    ({"num_cpus": "1"}, TypeError, "The type of keyword 'num_cpus' must be"),
    ({"num_gpus": -0.5}, ValueError, "num_gpus cannot be negative"),
    ({"memory": -1}, ValueError, "memory cannot be negative"),
    ({"memory": "1GB"}, TypeError, "The type of keyword 'memory' must be"),
    ({"resources": "gold"}, TypeError, "The type of keyword 'resources' must be"),
    ({"resources": {"CPU": 1}}, ValueError, "Use the 'num_cpus' and 'num_gpus' keyword"),
    ({"resources": {"GPU": 1}}, ValueError, "Use the 'num_cpus' and 'num_gpus' keyword"),
    ({"num_cpus": 0.00001}, ValueError, "num_cpus cannot go beyond 0.0001"),
    ({"resources": {"gold": 0.00009}}, ValueError, "gold cannot go beyond 0.0001"),
    ({"name": 1}, TypeError, "The type of keyword 'name' must be"),
    ({"runtime_env": 1}, TypeError, "runtime_env"),
    ({"scheduling_strategy": 1}, TypeError, "scheduling_strategy"),
    # These two were found out when the task was called, or never.
    ({"num_cpus": 0.00001}, ValueError, "The precision of the fractional quantity of resource"),
    ({"runtime_env": {"env_vars": {"A": 1}}}, TypeError, "must be of type Dict.str, str."),
]

FOR_TASKS = [
    ({"colour": "red"}, ValueError, "Invalid option keyword colour for remote functions"),
    ({"max_restarts": 1}, ValueError, "Invalid option keyword max_restarts for remote functions"),
    ({"num_returns": -1}, ValueError, "num_returns"),
    ({"num_returns": "many"}, TypeError, None),
    ({"max_retries": -2}, ValueError, "max_retries"),
    ({"max_retries": 1.5}, TypeError, "The type of keyword 'max_retries' must be"),
    ({"retry_exceptions": "all"}, TypeError, "The type of keyword 'retry_exceptions' must be"),
    ({"retry_exceptions": ["all"]}, ValueError, "either a boolean or a list of exceptions"),
    ({"object_store_memory": 1}, ValueError, "'object_store_memory' is not implemented for tasks"),
    ({"lifetime": "detached"}, ValueError, "Invalid option keyword lifetime for remote functions"),
]

FOR_DEFINITIONS_OF_TASKS = [
    ({"max_calls": -1}, ValueError, "The keyword 'max_calls' only accepts None, 0 or a positive"),
    ({"max_calls": "1"}, TypeError, "The type of keyword 'max_calls' must be"),
    ({"_num_objects_per_yield": 0}, ValueError, "_num_objects_per_yield"),
]

FOR_ACTORS = [
    ({"colour": "red"}, ValueError, "Invalid option keyword colour for actors"),
    ({"max_retries": 1}, ValueError, "Invalid option keyword max_retries for actors"),
    ({"num_returns": 1}, ValueError, "Invalid option keyword num_returns for actors"),
    ({"max_restarts": -2}, ValueError, "max_restarts"),
    ({"max_task_retries": -2}, ValueError, "max_task_retries"),
    ({"max_concurrency": "2"}, TypeError, "max_concurrency"),
    ({"lifetime": "eternal"}, ValueError, "lifetime"),
    ({"namespace": 1}, TypeError, "namespace"),
    ({"max_concurrency": -1}, ValueError, "max_concurrency"),
    ({"max_pending_calls": -2}, ValueError, "max_pending_calls"),
    ({"max_restarts": 1.0}, TypeError, "The type of keyword 'max_restarts' must be"),
    ({"object_store_memory": -1}, ValueError, "object_store_memory"),
    ({"get_if_exists": "yes"}, TypeError, "The type of keyword 'get_if_exists' must be"),
    ({"get_if_exists": True}, ValueError, "The actor name must be specified"),
    ({"concurrency_groups": "io"}, TypeError, "The type of keyword 'concurrency_groups' must be"),
    ({"allow_out_of_order_execution": 1}, TypeError, "allow_out_of_order_execution"),
]


@pytest.fixture(scope="module")
def function(ray):
    return ray.remote(lambda: None)


@pytest.fixture(scope="module")
def actor_class(ray):
    class Actor:
        def hello(self):
            return "hello"

    return ray.remote(Actor)


@pytest.mark.parametrize("options, kind, message", COMMON + FOR_TASKS, ids=str)
def test_of_a_task(ray, function, options, kind, message):
    with pytest.raises(kind, match=message):
        ray.remote(**options)(lambda: None)
    with pytest.raises(kind, match=message):
        function.options(**options)


@pytest.mark.parametrize("options, kind, message", COMMON + FOR_ACTORS, ids=str)
def test_of_an_actor(ray, actor_class, options, kind, message):
    with pytest.raises(kind, match=message):
        ray.remote(**options)(type("Actor", (), {}))
    with pytest.raises(kind, match=message):
        # Where the check takes two options together, it may be made when the actor is created.
        actor_class.options(**options).remote()


@pytest.mark.parametrize("name", ["memory", "object_store_memory"])
def test_memory_is_no_custom_resource(function, actor_class, name):
    with pytest.raises(ValueError, match="must not contain the key 'memory'"):
        function.options(resources={name: 1}).remote()
    with pytest.raises(ValueError, match="must not contain the key 'memory'"):
        actor_class.options(resources={name: 1}).remote()


@pytest.mark.parametrize("options, kind, message", FOR_DEFINITIONS_OF_TASKS, ids=str)
def test_of_the_definition_of_a_task(ray, options, kind, message):
    with pytest.raises(kind, match=message):
        ray.remote(**options)(lambda: None)


@pytest.mark.parametrize("name, value", [("max_calls", 1), ("_num_objects_per_yield", 2)])
def test_only_in_the_definition_of_a_task(function, name, value):
    with pytest.raises(ValueError, match=name):
        function.options(**{name: value})


def test_only_in_the_definition_of_an_actor(actor_class):
    with pytest.raises(ValueError, match="'concurrency_groups' is not supported in '.options"):
        actor_class.options(concurrency_groups={"io": 1})


@pytest.mark.parametrize(
    "options", [{"get_if_exists": True, "name": None}, {"get_if_exists": True, "name": ""}], ids=str
)
def test_existing_actor_needs_a_name(ray, options):
    with pytest.raises(ValueError, match="The actor name must be specified"):
        ray.remote(**options)(type("Actor", (), {}))


OF_METHODS = [
    ({"num_returns": -1}, ValueError, "num_returns must be >= 0, but got -1"),
    ({"_num_objects_per_yield": "2"}, TypeError, "_num_objects_per_yield"),
    ({"num_cpus": 1}, AssertionError, "Unexpected keyword argument to @ray.method: 'num_cpus'"),
]


@pytest.mark.parametrize("options, kind, message", OF_METHODS, ids=str)
def test_of_a_method(ray, options, kind, message):
    with pytest.raises(kind, match=message):
        ray.method(**options)(lambda self: None)


def test_method_without_options(ray, get):
    @ray.remote
    class Actor:
        @ray.method
        def bare(self):
            return "bare"

        @ray.method(num_returns=2)
        def pair(self):
            return 1, 2

    actor = Actor.remote()
    assert get(actor.bare.remote()) == "bare"
    assert get(actor.pair.remote()) == [1, 2]
    assert get(actor.pair.options(num_returns=1).remote()) == (1, 2)
    with pytest.raises(ValueError, match="num_returns must be >= 0"):
        actor.bare.options(num_returns=-1).remote()
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        actor.bare.options(colour="red").remote()


def test_neither_options_nor_a_definition(ray):
    for arguments in ((), (1,)):
        with pytest.raises(AssertionError, match="The @ray.remote decorator must be applied"):
            ray.remote(*arguments)
    with pytest.raises(AssertionError, match="The @ray.remote decorator must be applied"):
        ray.remote(lambda: None, num_cpus=1)
    with pytest.raises(AssertionError, match="The @ray.method decorator must be applied"):
        ray.method(1)


def test_coroutine_is_no_task(ray):
    async def coroutine():
        return 1

    with pytest.raises(ValueError, match="'async def' should not be used for remote tasks"):
        ray.remote(coroutine)


def test_options_of_one_call(ray, function, actor_class, get):
    @ray.remote
    def name():
        return ray.get_runtime_context().get_task_name()

    assert get(name._remote(args=[], kwargs={}, name="of one call")) == "of one call"
    actor = actor_class._remote(args=[], kwargs={}, num_cpus=0)
    assert get(actor.hello._remote(args=[], kwargs={})) == "hello"


def test_message_lists_the_allowed_names(function, actor_class):
    with pytest.raises(ValueError) as caught:
        function.options(colour="red")
    assert all(name in str(caught.value) for name in ("num_cpus", "max_retries", "num_returns"))
    with pytest.raises(ValueError) as caught:
        actor_class.options(colour="red")
    assert all(name in str(caught.value) for name in ("num_cpus", "max_restarts", "lifetime"))


def test_unknown_scheduling_strategy_is_refused_at_the_call(function):
    with pytest.raises(ValueError, match="Invalid scheduling_strategy value"):
        function.options(scheduling_strategy="NEAREST").remote()


def test_known_scheduling_strategies(ray, get):
    echo = ray.remote(lambda: "ran")
    for strategy in ("DEFAULT", "SPREAD", None):
        assert get(echo.options(scheduling_strategy=strategy).remote()) == "ran"


def test_none_means_the_default(ray, get):
    options = {"num_cpus": None, "num_gpus": None, "resources": None, "memory": None, "name": None}
    assert get(ray.remote(**options)(lambda: "ran").remote()) == "ran"


def test_later_options_replace_earlier_ones(ray, get):
    @ray.remote(num_cpus=1, name="first")
    def name():
        return ray.get_runtime_context().get_task_name()

    assert get(name.remote()) == "first"
    assert get(name.options(name="second").remote()) == "second"
    assert get(name.remote()) == "first"


def test_max_calls_replaces_the_worker(ray, get):
    import os

    @ray.remote(max_calls=1)
    def process():
        return os.getpid()

    assert len({get(process.remote()) for _ in range(3)}) == 3
