"""Nobody starves: every kind of task of a program has its turn."""

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


def keep_busy(ray, function, until_ready, at_once):
    """Calls a function, so that many calls are always under way, until something is ready."""
    under_way = [function.remote() for _ in range(at_once)]
    while not ray.wait([until_ready], timeout=0)[0]:
        done, under_way = ray.wait(under_way, timeout=60)
        assert done, "the small tasks do not end"
        under_way.extend(function.remote() for _ in done)
    ray.get(under_way, timeout=60)


@pytest.mark.whipray_only
def test_a_task_that_needs_all_cpus_has_its_turn_beside_small_ones(ray, get):
    @ray.remote(num_cpus=1)
    def small():
        import time

        time.sleep(0.01)

    @ray.remote(num_cpus=2)
    def large():
        return "had its turn"

    get([small.remote() for _ in range(2)])
    reference = large.remote()
    keep_busy(ray, small, reference, at_once=20)
    assert get(reference) == "had its turn"


def test_two_kinds_of_tasks_take_turns(ray, get):
    @ray.remote
    def first():
        import time

        time.sleep(0.01)

    @ray.remote(num_cpus=1, resources={"node:__internal_head__": 0.0001})
    def second():
        return "had its turn"

    get(first.remote())
    reference = second.remote()
    keep_busy(ray, first, reference, at_once=20)
    assert get(reference) == "had its turn"
