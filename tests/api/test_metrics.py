"""`ray.util.metrics`: what programs count and measure, and how it is read."""

import importlib
import json
import os
import pickle
import socket
import urllib.error
import urllib.request
import warnings

import pytest
from harness.prometheus import read, scrape, seen
from harness.waiting import until

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


@pytest.fixture
def taken_tcp_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


@pytest.fixture
def free_tcp_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def metrics(engine):
    return importlib.import_module(f"{engine.name}.util.metrics")


def test_a_counter_by_its_tags(ray, metrics):
    calls = metrics.Counter("calls", description="how many", tag_keys=("place", "kind"))
    calls.inc(tags={"place": "here", "kind": "good"})
    calls.inc(2.5, {"place": "here", "kind": "good"})
    calls.inc(2, {"place": "there", "kind": "good"})
    page = seen(ray, "ray_calls_total", 3.5, place="here", kind="good")
    assert page.total("ray_calls_total", place="there") == 2
    assert page.kinds["ray_calls_total"] == "counter"
    assert page.descriptions["ray_calls_total"] == "how many"
    (sample,) = page.find("ray_calls_total", place="here")
    assert sample.labels["Component"] == "core_worker"
    assert sample.labels["NodeAddress"] == ray.nodes()[0]["NodeManagerAddress"]
    assert sample.labels["Version"] == "2.60.0"
    assert len(sample.labels["WorkerId"]) == 56
    assert sample.labels["SessionName"].startswith("session_")


def test_a_gauge_shows_its_last_value(ray, metrics):
    level = metrics.Gauge("level", tag_keys=("tank",))
    level.set(5, {"tank": "a"})
    level.set(-2.5, {"tank": "a"})
    level.set(None, {"tank": "a"})
    page = seen(ray, "ray_level", -2.5, tank="a")
    assert page.kinds["ray_level"] == "gauge"


def test_a_histogram_counts_values_below_its_boundaries(ray, engine, metrics):
    sizes = metrics.Histogram("sizes", boundaries=[1, 5.5, 10], tag_keys=("of",))
    for value in (0.5, 1, 3, 7, 20):
        sizes.observe(value, {"of": "it"})
    page = seen(ray, "ray_sizes_count", 5, of="it")
    assert page.kinds["ray_sizes"] == "histogram"
    buckets = {it.labels["le"]: it.value for it in page.find("ray_sizes_bucket", of="it")}
    assert buckets == {"1.0": 2, "5.5": 3, "10.0": 4, "+Inf": 5}
    # Ray makes the sum of the middles of the buckets.
    exactly = 0 if engine.is_whipray else 1
    assert page.total("ray_sizes_sum", of="it") == pytest.approx(31.5, abs=exactly)


def test_names_that_end_as_counters_do(ray, metrics):
    metrics.Counter("done_total").inc(3)
    page = seen(ray, "ray_done_total", 3)
    assert not page.find("ray_done_total_total")


def test_any_text_is_a_value_of_a_tag(ray, metrics):
    text = 'a "quoted"\\\n, {line} = 1'
    metrics.Counter("texts", tag_keys=("text", "empty")).inc(1, {"text": text, "empty": ""})
    seen(ray, "ray_texts_total", 1, text=text, empty="")


def test_default_tags(ray, metrics):
    calls = metrics.Counter("defaults", tag_keys=("place", "kind"))
    assert calls.set_default_tags({"place": "here"}) is calls
    calls.inc(1, {"kind": "a"})
    calls.inc(1, {"kind": "b", "place": "there"})
    page = seen(ray, "ray_defaults_total", 1, kind="a", place="here")
    assert page.total("ray_defaults_total", kind="b", place="there") == 1


def test_tags_without_a_key_are_left_out(ray, metrics):
    metrics.Counter("strict", tag_keys=("known",)).inc(1, {"known": "yes", "other": "no"})
    (sample,) = seen(ray, "ray_strict_total", 1).find("ray_strict_total")
    assert sample.labels["known"] == "yes" and "other" not in sample.labels


def test_two_metrics_of_one_definition_are_one(ray, metrics):
    for _ in range(2):
        metrics.Counter("shared", tag_keys=("kind",)).inc(1, {"kind": "a"})
    seen(ray, "ray_shared_total", 2, kind="a")


def test_each_process_counts_for_itself(ray, get, metrics):
    @ray.remote
    class Counting:
        def __init__(self):
            self.calls = metrics.Counter("calls_of_actors", tag_keys=("kind",))

        def count(self):
            self.calls.inc(1, {"kind": "method"})
            return os.getpid()

    @ray.remote
    def count():
        metrics.Counter("calls_of_tasks").inc(1)

    actors = [Counting.remote() for _ in range(2)]
    get([actor.count.remote() for actor in actors for _ in range(3)])
    get([count.remote() for _ in range(5)])
    page = seen(ray, "ray_calls_of_actors_total", 6, kind="method")
    by_worker = {it.labels["WorkerId"]: it.value for it in page.find("ray_calls_of_actors_total")}
    assert list(by_worker.values()) == [3, 3] and len(by_worker) == 2
    seen(ray, "ray_calls_of_tasks_total", 5)


def test_busy_processes_are_read_as_well(ray, get, metrics, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote(num_cpus=0)
    class Looping:
        async def count(self):
            metrics.Counter("in_coroutines").inc()
            return True

    @ray.remote
    def compute():
        metrics.Counter("in_a_long_task").inc()
        while not gate.exists():
            sum(range(10_000))

    actor, task = Looping.remote(), compute.remote()
    get(actor.count.remote())
    seen(ray, "ray_in_coroutines_total", 1)
    seen(ray, "ray_in_a_long_task_total", 1)
    gate.touch()
    get(task)


def test_a_metric_travels_as_its_definition(ray, get, metrics):
    calls = metrics.Counter("travels", tag_keys=("kind",))

    @ray.remote
    def count(calls):
        calls.inc(1, {"kind": "a"})
        return calls.info

    assert get(count.remote(calls)) == calls.info
    seen(ray, "ray_travels_total", 1, kind="a")


def test_counters_of_an_actor_outlive_it_and_gauges_do_not(ray, get, metrics):
    @ray.remote
    class Counting:
        def count(self):
            metrics.Counter("counted_before").inc(4)
            metrics.Gauge("measured_before").set(1)

    actor = Counting.remote()
    get(actor.count.remote())
    seen(ray, "ray_counted_before_total", 4)
    ray.kill(actor)
    with pytest.raises(ray.exceptions.RayActorError):
        get(actor.count.remote())

    def look():
        page = scrape(ray)
        return None if page.find("ray_measured_before") else page

    assert until(look, "the gauge is gone").total("ray_counted_before_total") == 4


def test_what_the_node_says_of_itself(ray, get, metrics):
    metrics.Counter("opens_the_door").inc()

    @ray.remote
    class Idle:
        def ready(self):
            return True

    actor = Idle.remote()
    get(actor.ready.remote())

    def is_counted():
        alive = scrape(ray).find("ray_actors", State="ALIVE", Source="gcs")
        return [it.value for it in alive if it.labels["Name"].endswith("Idle")] == [1]

    until(is_counted, "the actor is counted")
    # Workers that tasks have just used are kept for a moment.
    page = seen(ray, "ray_resources", 2, Name="CPU", State="AVAILABLE")
    assert page.total("ray_resources", Name="CPU", State="USED") == 0
    assert page.total("ray_object_store_available_memory") > 0
    assert page.total("ray_object_store_memory", Location="SPILLED") == 0
    assert page.total("ray_node_mem_total") > page.total("ray_node_mem_used") > 0
    assert page.total("ray_running_jobs") == 1


def test_info(metrics):
    common = {"name": "told", "description": "it", "tag_keys": ("a", "b"), "default_tags": {}}
    counter = metrics.Counter("told", "it", ("a", "b"))
    assert counter.info == common
    counter.set_default_tags({"b": "1"})
    assert counter.info == {**common, "default_tags": {"b": "1"}}
    assert metrics.Gauge("told_gauge", "it", ("a", "b")).info == {**common, "name": "told_gauge"}
    histogram = metrics.Histogram("told_sizes", "it", [1, 2], ("a", "b"))
    assert histogram.info == {**common, "name": "told_sizes", "boundaries": [1, 2]}
    assert metrics.Gauge("told_briefly").info["tag_keys"] == ()
    for metric in (counter, histogram):
        copied = pickle.loads(pickle.dumps(metric))
        assert copied.info == {**metric.info, "default_tags": {}}


@pytest.mark.parametrize(
    "error, text, use",
    [
        (ValueError, "Empty name", lambda it: it.Counter("")),
        (TypeError, "tag_keys", lambda it: it.Counter("bad", tag_keys=["a"])),
        (TypeError, "tag_keys", lambda it: it.Counter("bad", tag_keys="a")),
        (TypeError, "Tag keys", lambda it: it.Gauge("bad", tag_keys=(1,))),
        (ValueError, "boundaries", lambda it: it.Histogram("bad")),
        (ValueError, "boundaries", lambda it: it.Histogram("bad", boundaries=[])),
        (ValueError, "index 1", lambda it: it.Histogram("bad", boundaries=[1, 0])),
        (ValueError, ">0, got 0", lambda it: it.Counter("fine").inc(0)),
        (ValueError, ">0, got -1", lambda it: it.Counter("fine").inc(-1)),
        (TypeError, "value must be", lambda it: it.Counter("fine").inc("1")),
        (TypeError, "value must be", lambda it: it.Counter("fine").inc(None)),
        (TypeError, "value must be", lambda it: it.Gauge("fine_gauge").set("1")),
        (TypeError, "value must be", lambda it: it.Histogram("h", boundaries=[1]).observe(None)),
        (ValueError, r"Missing value.*a,b", lambda it: it.Counter("c", tag_keys=("a", "b")).inc()),
        (ValueError, r": b\.", lambda it: it.Counter("c", tag_keys=("a", "b")).inc(1, {"a": "1"})),
        (TypeError, "Tag values", lambda it: it.Counter("d", tag_keys=("a",)).inc(1, {"a": 1})),
        (ValueError, "Unrecognized", lambda it: it.Counter("d").set_default_tags({"z": "1"})),
        (
            TypeError,
            "Tag values",
            lambda it: it.Counter("d", tag_keys=("a",)).set_default_tags({"a": 1}),
        ),
    ],
)
def test_what_is_wrong_is_said(metrics, error, text, use):
    with pytest.raises(error, match=text):
        use(metrics)


@pytest.mark.parametrize("name", ["a b", "a-b", "1a", "a.b", "a/b"])
def test_names_that_prometheus_does_not_take(metrics, name):
    with pytest.warns(UserWarning, match="Invalid metric name"):
        counter = metrics.Counter(name)
    counter.inc()
    assert counter.info["name"] == name


def test_names_with_colons_warn(metrics):
    with pytest.warns(FutureWarning, match="a:b"):
        metrics.Counter("a:b").inc()


def test_good_names_do_not_warn(metrics):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.Counter("_Good_1").inc()


@pytest.mark.whipray_only
def test_workers_that_end_hand_over_what_they_have_counted(ray, get, metrics):
    @ray.remote(max_calls=1)
    def count():
        metrics.Counter("handed_over").inc()
        return os.getpid()

    @ray.remote
    class Leaving:
        def leave(self):
            metrics.Counter("handed_over").inc()
            ray.actor.exit_actor()

    pids = get([count.remote() for _ in range(4)])
    assert len(set(pids)) == 4
    with pytest.raises(ray.exceptions.RayActorError):
        get(Leaving.remote().leave.remote())
    seen(ray, "ray_handed_over_total", 5)


@pytest.mark.whipray_only
def test_values_belong_to_the_process_that_shows_them(ray, metrics):
    metrics.Gauge("whose").set(1)
    (sample,) = seen(ray, "ray_whose", 1).find("ray_whose")
    assert sample.labels["WorkerId"] == ray.get_runtime_context().get_worker_id()


@pytest.mark.whipray_only
def test_a_forked_child_has_counted_nothing(ray, metrics):
    counter = metrics.Counter("forked")
    counter.inc()
    pid = os.fork()
    if pid == 0:
        counter.inc(100)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    counter.inc()
    seen(ray, "ray_forked_total", 2)


@pytest.mark.whipray_only
class TestSessions:
    """Ray drops what was recorded before `init()`."""

    pytestmark = pytest.mark.usefixtures("stopped")

    def test_what_was_counted_counts_for_one_cluster(self, ray, init, metrics):
        counter = metrics.Counter("counted")
        counter.inc(1)
        init(num_cpus=1)
        counter.inc(10)
        seen(ray, "ray_counted_total", 11)
        ray.shutdown()
        counter.inc(100)
        init(num_cpus=1)
        seen(ray, "ray_counted_total", 100)

    def test_a_port_that_was_asked_for(self, ray, init, metrics, free_tcp_port):
        init(num_cpus=1, _metrics_export_port=free_tcp_port)
        assert ray.nodes()[0]["MetricsExportPort"] == free_tcp_port
        url = f"http://127.0.0.1:{free_tcp_port}"
        assert read(f"{url}/metrics").total("ray_resources", Name="CPU") == 1
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{url}/else")
        ray.shutdown()
        with pytest.raises(urllib.error.URLError, match="refused"):
            read(f"{url}/metrics")

    def test_a_port_that_is_taken(self, ray, init, taken_tcp_port):
        with pytest.raises(RuntimeError, match=f"port {taken_tcp_port} .*is taken"):
            init(num_cpus=1, _metrics_export_port=taken_tcp_port)

    def test_prometheus_finds_the_port(self, ray, init, metrics):
        context = init(num_cpus=1)
        metrics.Counter("found").inc()
        port = ray.nodes()[0]["MetricsExportPort"]
        folder = context.address_info["session_dir"]
        with open(os.path.join(folder, "prom_metrics_service_discovery.json")) as file:
            (found,) = json.load(file)
        assert found == {"labels": {"job": "ray"}, "targets": [f"127.0.0.1:{port}"]}
