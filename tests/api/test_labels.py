"""Labels of nodes, and the options that select by them."""

import pytest

pytestmark = [
    pytest.mark.cluster(num_cpus=4, labels={"zone": "a", "spot/market": "yes"}),
    pytest.mark.usefixtures("cluster"),
]


@pytest.fixture(scope="module")
def labels(ray):
    @ray.remote
    def labels():
        return ray.get_runtime_context().get_node_labels()

    return labels


def test_a_node_has_the_labels_that_it_was_given(ray, labels, get):
    node = ray.nodes()[0]
    expected = {"zone": "a", "spot/market": "yes", "ray.io/node-id": node["NodeID"]}
    assert node["Labels"] == expected
    assert get(labels.remote()) == expected


SELECTORS_THAT_MATCH = [
    {"zone": "a"},
    {"zone": "in(a,b)"},
    {"zone": "in(b,a)"},
    {"zone": "!b"},
    {"zone": "!in(b,c)"},
    {"gone": "!a"},
    {"spot/market": "yes", "zone": "a"},
]


@pytest.mark.parametrize("selector", SELECTORS_THAT_MATCH, ids=str)
def test_a_selector_that_matches(ray, labels, get, selector):
    assert get(labels.options(label_selector=selector).remote())["zone"] == "a"


@pytest.mark.whipray_only
def test_spaces_between_values_do_not_count(labels, get):
    assert get(labels.options(label_selector={"zone": "in(b, a)"}).remote())["zone"] == "a"


def test_the_node_itself_is_a_label(ray, labels, get):
    selector = {"ray.io/node-id": ray.nodes()[0]["NodeID"]}
    assert get(labels.options(label_selector=selector).remote())["zone"] == "a"


def test_selectors_that_match_no_node_wait(ray, labels):
    selectors = (
        {"zone": "b"},
        {"zone": "!a"},
        {"zone": "!in(a,b)"},
        {"zone": "in(c)"},
        {"gone": "a"},
        {"zone": "a", "gone": "a"},
    )
    references = [labels.options(label_selector=selector).remote() for selector in selectors]
    assert ray.wait(references, num_returns=len(references), timeout=1)[0] == []
    for reference in references:
        ray.cancel(reference)


def test_an_actor_selects_as_a_task_does(ray, get):
    @ray.remote
    class Actor:
        def ping(self):
            return "pong"

    assert get(Actor.options(label_selector={"zone": "a"}).remote().ping.remote()) == "pong"
    waiting = Actor.options(label_selector={"zone": "b"}).remote()
    call = waiting.ping.remote()
    assert ray.wait([call], timeout=1)[0] == []
    ray.kill(waiting)


def test_bundles_select_as_well(ray):
    group = ray.util.placement_group([{"CPU": 1}], bundle_label_selector=[{"zone": "a"}])
    assert group.wait(60)
    ray.util.remove_placement_group(group)
    group = ray.util.placement_group([{"CPU": 1}], bundle_label_selector=[{"zone": "b"}])
    assert not group.wait(1)
    ray.util.remove_placement_group(group)


FALLBACKS = [
    ({"zone": "c"}, [{"label_selector": {"zone": "a"}}]),
    ({"zone": "c"}, [{"label_selector": {"zone": "d"}}, {"label_selector": {}}]),
    ({"zone": "a"}, []),
]


@pytest.mark.parametrize("selector, fallbacks", FALLBACKS, ids=str)
def test_a_fallback_counts_where_nothing_before_it_matches(labels, get, selector, fallbacks):
    chosen = labels.options(label_selector=selector, fallback_strategy=fallbacks)
    assert get(chosen.remote())["zone"] == "a"


BAD_SELECTORS = [
    ({"zone": "in()"}, ValueError, "Invalid label selector value"),
    ({"zone": "in(a"}, ValueError, "Invalid label selector value"),
    ({"zone": "-a"}, ValueError, "Invalid label selector value"),
    ({"zone": "!!a"}, ValueError, "Invalid label selector value"),
    ({"zone": "a" * 64}, ValueError, "Invalid label selector value"),
    ({"a" * 70: "x"}, ValueError, "Invalid label key name"),
    ({"ray.io/": "a"}, ValueError, "Invalid label key name"),
    ({"": "a"}, ValueError, "Invalid label key name"),
    ({"zone": 5}, TypeError, None),
    ({5: "a"}, TypeError, None),
    ("x", TypeError, "label_selector"),
]


@pytest.mark.parametrize("selector, error, message", BAD_SELECTORS, ids=str)
def test_a_selector_without_sense(labels, selector, error, message):
    with pytest.raises(error, match=message):
        labels.options(label_selector=selector)


BAD_FALLBACKS = [
    ({}, TypeError, "fallback_strategy"),
    ([{}], ValueError, "Empty dictionary"),
    ([{"x": 1}], ValueError, "Unsupported option found: 'x'"),
    ([{"label_selector": {"a": "b"}, "num_cpus": 2}], ValueError, "Unsupported option"),
    (["a"], ValueError, "must be a dictionary"),
    ([{"label_selector": "x"}], ValueError, "must be a dictionary"),
    ([{"label_selector": {"a": 5}}], TypeError, None),
]


@pytest.mark.parametrize("fallbacks, error, message", BAD_FALLBACKS, ids=str)
def test_fallbacks_without_sense(labels, fallbacks, error, message):
    with pytest.raises(error, match=message):
        labels.options(fallback_strategy=fallbacks)
