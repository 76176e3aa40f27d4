"""Groups of actors and tasks that exchange tensors, by gloo."""

import pytest

numpy = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")

pytestmark = pytest.mark.cluster(num_cpus=5)


LOADING_SECONDS = 170
"""Each process loads torch first, which takes long on a small machine."""


@pytest.fixture(scope="module")
def members(ray, cluster):
    """Three actors that run functions of the test, with their rank and the library."""

    @ray.remote(num_cpus=1)
    class Member:
        def __init__(self, rank):
            self.rank = rank

        def join(self, size, name="default", **options):
            import ray.util.collective as collective

            collective.init_collective_group(size, self.rank, "gloo", name, **options)

        def run(self, function):
            import ray.util.collective as collective

            return function(collective, self.rank)

    made = [Member.remote(rank) for rank in range(3)]
    ray.get([each.run.remote(lambda *_: None) for each in made], timeout=LOADING_SECONDS)
    return made


@pytest.fixture
def group(ray, get, members):
    """`group(size)`: the first of them as a new group, which they leave after the test."""
    joined = []

    def make(size):
        joined.extend(members[:size])
        get([each.join.remote(size) for each in joined])
        return joined

    yield make
    of_all(get, joined, lambda collective, _: collective.destroy_collective_group())


def of_all(get, members, function):
    return get([each.run.remote(function) for each in members])


def values(arrays):
    return [numpy.asarray(array).tolist() for array in arrays]


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_allreduce(get, group, library):
    def sums(collective, rank):
        own = numpy.full(3, rank + 1, dtype=numpy.float32)
        tensor = torch.from_numpy(own) if library == "torch" else own
        collective.allreduce(tensor)
        return own

    assert values(of_all(get, group(2), sums)) == [[3, 3, 3]] * 2


def test_every_reduction(get, group):
    def reduced(collective, rank):
        found = {}
        for op in collective.collective.types.ReduceOp:
            tensor = numpy.array([rank + 2.0, 3.0 - rank])
            collective.allreduce(tensor, op=op)
            found[op.name] = tensor.tolist()
        return found

    expected = {"SUM": [5, 5], "PRODUCT": [6, 6], "MIN": [2, 2], "MAX": [3, 3]}
    assert of_all(get, group(2), reduced) == [expected] * 2


def test_reduce_leaves_the_others_alone(get, group):
    def reduced(collective, rank):
        tensor = numpy.array([rank + 1.0])
        collective.reduce(tensor, dst_rank=1)
        return tensor

    assert values(of_all(get, group(3), reduced)) == [[1], [6], [3]]


def test_broadcast(get, group):
    def told(collective, rank):
        tensor = torch.full((2, 2), float(rank))
        collective.broadcast(tensor, src_rank=1)
        return tensor.numpy()

    assert values(of_all(get, group(2), told)) == [[[1, 1], [1, 1]]] * 2


def test_allgather(get, group):
    def gathered(collective, rank):
        tensors = [numpy.zeros(2, dtype=numpy.int64) for _ in range(2)]
        collective.allgather(tensors, numpy.array([rank, 10 * rank]))
        return tensors

    assert [values(each) for each in of_all(get, group(2), gathered)] == [[[0, 0], [1, 10]]] * 2


def test_reducescatter(get, group):
    def scattered(collective, rank):
        own = numpy.zeros(1)
        collective.reducescatter(own, [numpy.array([rank + 1.0]), numpy.array([10.0 * (rank + 1)])])
        return own

    assert values(of_all(get, group(2), scattered)) == [[3], [30]]


def test_send_and_receive(get, group):
    def passed(collective, rank):
        tensor = numpy.full(4, 7.0 if rank == 0 else 0.0)
        if rank == 0:
            collective.send(tensor, 1)
        else:
            collective.recv(tensor, 0)
        return tensor

    assert values(of_all(get, group(2), passed)) == [[7] * 4] * 2


def test_barrier_rank_and_size(get, group):
    def asked(collective, rank):
        collective.barrier()
        known = collective.is_group_initialized("default"), collective.is_group_initialized("other")
        return collective.get_rank(), collective.get_collective_group_size(), known

    answers = of_all(get, group(2), asked)
    assert answers == [(rank, 2, (True, False)) for rank in range(2)]


def test_a_group_that_was_destroyed_can_be_made_again(get, group):
    members = group(2)

    def leave(collective, rank):
        collective.destroy_collective_group()
        return collective.is_group_initialized("default"), collective.get_rank()

    assert of_all(get, members, leave) == [(False, -1)] * 2
    get([each.join.remote(2) for each in members])

    def total(collective, rank):
        tensor = numpy.ones(1)
        collective.allreduce(tensor)
        return tensor

    assert values(of_all(get, members, total)) == [[2]] * 2


def test_a_group_that_the_driver_declares(ray, get, members):
    from importlib import import_module

    collective = import_module(f"{ray.__name__}.util.collective")
    members = members[:2]
    collective.create_collective_group(members, 2, [1, 0], backend="gloo", group_name="declared")
    with pytest.raises(RuntimeError, match="twice"):
        collective.create_collective_group(members, 2, [0, 1], "gloo", "declared")

    def joined(collective, rank):
        tensor = numpy.ones(1)
        collective.allreduce(tensor, "declared")
        found = collective.get_rank("declared"), tensor.tolist()
        collective.barrier("declared")
        collective.destroy_collective_group("declared")
        return found

    assert of_all(get, members, joined) == [(1, [2]), (0, [2])]


def test_what_cannot_be_declared(ray, members):
    from importlib import import_module

    create = import_module(f"{ray.__name__}.util.collective").create_collective_group
    members = members[:2]
    with pytest.raises(RuntimeError, match="correspond to one rank"):
        create(members, 2, [0], "gloo", "wrong")
    with pytest.raises(RuntimeError, match="permutation"):
        create(members, 2, [0, 2], "gloo", "wrong")
    with pytest.raises(RuntimeError, match="World size must be greater"):
        create(members, 0, [0, 1], "gloo", "wrong")
    with pytest.raises(RuntimeError, match="is not registered"):
        create(members, 2, [0, 1], "no_such_backend", "wrong")


def test_errors_inside_of_a_group(get, group):
    def wrong(collective, rank):
        tensor = numpy.ones(1)
        attempts = {
            "outside": lambda: collective.allreduce(tensor, "no_such_group"),
            "negative": lambda: collective.broadcast(tensor, -1),
            "too large": lambda: collective.reduce(tensor, 2),
            "self": lambda: collective.send(tensor, rank),
            "no tensor": lambda: collective.allreduce([1.0]),
            "no list": lambda: collective.allgather(tensor, tensor),
            "too few": lambda: collective.allgather([tensor], tensor),
            "again": lambda: collective.init_collective_group(2, rank, "gloo"),
            "no name": lambda: collective.init_collective_group(2, rank, "gloo", ""),
            "backend": lambda: collective.init_collective_group(2, rank, "nothing", "other"),
            "rank": lambda: collective.init_collective_group(2, 2, "gloo", "other"),
        }
        found = {}
        for name, attempt in attempts.items():
            try:
                attempt()
            except Exception as error:
                found[name] = type(error).__name__
        return found

    expected = {
        "outside": "RuntimeError",
        "negative": "ValueError",
        "too large": "ValueError",
        "self": "RuntimeError",
        "no tensor": "RuntimeError",
        "no list": "RuntimeError",
        "too few": "RuntimeError",
        "again": "RuntimeError",
        "no name": "ValueError",
        "backend": "ValueError",
        "rank": "AssertionError",
    }
    assert of_all(get, group(2), wrong) == [expected] * 2


def test_only_inside_of_actors_and_tasks(ray, cluster):
    from importlib import import_module

    collective = import_module(f"{ray.__name__}.util.collective")
    with pytest.raises(RuntimeError, match="inside a Ray actor or task"):
        collective.allreduce(numpy.ones(1))
    assert collective.gloo_available()
    assert not collective.is_backend_available("no_such_backend")


def test_rank_0_does_not_come(get, members):
    with pytest.raises(TimeoutError, match="Timed out waiting"):
        get(members[1].join.remote(2, "alone", gloo_timeout=300))


def test_tasks_are_members_too(ray, cluster):
    @ray.remote
    def total(rank):
        import ray.util.collective as collective

        collective.init_collective_group(2, rank, "gloo", "tasks")
        tensor = numpy.full(1, rank + 1.0)
        collective.allreduce(tensor, "tasks")
        collective.destroy_collective_group("tasks")
        return tensor

    found = ray.get([total.remote(rank) for rank in range(2)], timeout=LOADING_SECONDS)
    assert values(found) == [[3], [3]]


@pytest.mark.whipray_only
def test_strides_and_read_only_arrays(ray, get, group):
    def sums(collective, rank):
        tensor = numpy.arange(6.0)
        collective.allreduce(tensor[::2])
        fixed = numpy.ones(1)
        fixed.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            collective.allreduce(fixed)
        return tensor

    assert values(of_all(get, group(2), sums)) == [[0, 1, 4, 3, 8, 5]] * 2


@pytest.mark.whipray_only
def test_groups_of_different_sizes_in_one_process(ray, get, group):
    members = group(3)
    get([each.join.remote(2, "pair") for each in members[:2]])

    def total(collective, rank):
        tensor = numpy.ones(1)
        if rank < 2:
            collective.allreduce(tensor, "pair")
        collective.allreduce(tensor)
        return tensor

    assert values(of_all(get, members, total)) == [[5]] * 3


@pytest.mark.whipray_only
def test_a_meeting_whose_first_process_died(ray, get, members):
    """Its key stayed, and the others of the next group went where nobody was."""
    from whipray import _core

    place = f"{ray.get_runtime_context().namespace}/again".encode()
    _core.kv_put("collective", place, b"of the dead", True)
    second = members[1].join.remote(2, "again")
    assert ray.wait([second], timeout=0.5)[0] == []
    get([second, members[0].join.remote(2, "again")])
    of_all(get, members[:2], lambda collective, _: collective.destroy_collective_group("again"))


@pytest.mark.whipray_only
def test_nothing_stays_in_the_cluster(ray, get, group):
    from whipray import _core

    group(2)
    left = [key for key in _core.kv_keys("collective", b"") if b"of the dead" not in key]
    assert left == []
