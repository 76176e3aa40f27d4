"""Numbers that are larger than any queue, window or batch inside."""

import threading

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def echo(ray):
    return ray.remote(lambda value: value)


def test_one_get_of_many_objects(ray, get):
    assert get([ray.put(number) for number in range(5000)]) == list(range(5000))


def test_one_object_with_many_references(ray, get):
    outer = ray.put([ray.put(number) for number in range(2000)])
    assert get(get(outer)) == list(range(2000))


def test_many_references_in_an_argument(ray, get):
    @ray.remote
    def total(references):
        return sum(ray.get(references))

    assert get(total.remote([ray.put(number) for number in range(1000)])) == sum(range(1000))


def test_many_top_level_references(ray, get):
    @ray.remote
    def total(*numbers):
        return sum(numbers)

    assert get(total.remote(*[ray.put(number) for number in range(500)])) == sum(range(500))


def test_many_results(ray, get):
    @ray.remote(num_returns=500)
    def numbers():
        return range(500)

    assert get(numbers.remote()) == list(range(500))


def test_long_chain(echo, get):
    reference = echo.remote("start")
    for _ in range(500):
        reference = echo.remote(reference)
    assert get(reference) == "start"


def test_wide_fan_in(ray, echo, get):
    @ray.remote
    def total(*numbers):
        return sum(numbers)

    layer = [echo.remote(number) for number in range(256)]
    while len(layer) > 1:
        layer = [total.remote(*layer[i : i + 4]) for i in range(0, len(layer), 4)]
    assert get(layer[0]) == sum(range(256))


def test_many_tasks_without_keeping_references(ray, echo, get):
    for number in range(1000):
        echo.remote(number)
    assert get(echo.remote("last")) == "last"


def test_many_calls_of_one_actor_keep_their_order(ray, get):
    @ray.remote(num_cpus=0)
    class Log:
        def __init__(self):
            self.seen = []

        def add(self, value):
            self.seen.append(value)
            return len(self.seen)

        def all(self):
            return self.seen

    log = Log.remote()
    lengths = [log.add.remote(number) for number in range(3000)]
    assert get(lengths) == list(range(1, 3001))
    assert get(log.all.remote()) == list(range(3000))


def test_many_callers_of_one_actor(ray, get):
    @ray.remote(num_cpus=0)
    class Log:
        def __init__(self):
            self.seen = {}

        def add(self, caller, value):
            self.seen.setdefault(caller, []).append(value)

        def all(self):
            return self.seen

    @ray.remote
    def call(log, caller):
        ray.get([log.add.remote(caller, number) for number in range(100)])

    log = Log.remote()
    get([call.remote(log, caller) for caller in range(8)])
    assert get(log.all.remote()) == {caller: list(range(100)) for caller in range(8)}


def test_large_calls_of_an_actor_keep_their_order_among_small_ones(ray, get):
    @ray.remote(num_cpus=0)
    class Log:
        def __init__(self):
            self.sizes = []

        def add(self, data):
            self.sizes.append(len(data))

        def all(self):
            return self.sizes

    log = Log.remote()
    sizes = [10, 300_000, 20, 90_000, 1_000_000, 30] * 5
    for size in sizes:
        log.add.remote(b"x" * size)
    assert get(log.all.remote()) == sizes


def test_many_functions(ray, get):
    functions = [ray.remote(lambda value, n=n: value + n) for n in range(100)]
    references = [function.remote(1) for function in functions]
    assert get(references) == [1 + number for number in range(100)]


def test_many_kinds_of_demands_at_once(ray, echo, get):
    amounts = [0, 0.1, 0.25, 0.5, 1, 2]
    references = [
        echo.options(num_cpus=amounts[number % len(amounts)]).remote(number)
        for number in range(120)
    ]
    assert get(references) == list(range(120))


def test_threads_that_submit_put_and_wait(ray, echo):
    failures = []

    def work(thread):
        try:
            for number in range(30):
                references = [echo.remote((thread, number)), ray.put((thread, number))]
                ready, _ = ray.wait(references, num_returns=2, timeout=60)
                assert ray.get(ready) == [(thread, number)] * 2
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


def test_large_object_for_many_tasks(ray, get):
    length = ray.remote(lambda data: len(data))
    data = ray.put(b"x" * 20_000_000)
    assert get([length.remote(data) for _ in range(50)]) == [20_000_000] * 50


def test_waiting_for_one_of_many_again_and_again(ray, echo):
    pending = [echo.remote(number) for number in range(500)]
    seen = 0
    while pending:
        ready, pending = ray.wait(pending, num_returns=1, timeout=60)
        seen += len(ready)
    assert seen == 500
