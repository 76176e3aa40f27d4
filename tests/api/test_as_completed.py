"""`ray.util.as_completed` and `map_unordered`: results of many tasks as they come."""

import pytest

pytestmark = [pytest.mark.cluster(num_cpus=4), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def double(ray):
    @ray.remote
    def double(value):
        return 2 * value

    return double


@pytest.fixture(scope="module")
def wait_for(ray):
    @ray.remote
    def wait_for(path):
        import time

        while not path.exists():
            time.sleep(0.01)
        return "late"

    return wait_for


@pytest.fixture(scope="module")
def refuse(ray):
    @ray.remote
    def refuse(value):
        if value == 3:
            raise ValueError(f"refused {value}")
        return value

    return refuse


class TestAsCompleted:
    @pytest.mark.parametrize("chunk_size", [1, 3, 10, 100])
    def test_all_results_come(self, ray, double, chunk_size):
        refs = [double.remote(number) for number in range(20)]
        results = ray.util.as_completed(refs, chunk_size=chunk_size)
        assert sorted(results) == [2 * number for number in range(20)]

    def test_nothing_gives_nothing(self, ray):
        assert list(ray.util.as_completed([])) == []

    def test_what_is_ready_comes_first(self, ray, double, wait_for, tmp_path):
        gate = tmp_path / "gate"
        refs = [wait_for.remote(gate), double.remote(1)]
        results = ray.util.as_completed(refs, chunk_size=1)
        assert next(results) == 2
        gate.touch()
        assert list(results) == ["late"]

    def test_what_is_ready_within_a_timeout_comes(self, ray, double, wait_for, tmp_path):
        gate = tmp_path / "gate"
        refs = [wait_for.remote(gate), double.remote(1)]
        results = ray.util.as_completed(refs, chunk_size=2, timeout=0.05)
        assert next(results) == 2
        gate.touch()
        assert list(results) == ["late"]

    def test_references_instead_of_values(self, ray, get, double):
        refs = [double.remote(number) for number in range(5)]
        ready = list(ray.util.as_completed(refs, yield_obj_refs=True))
        assert set(ready) == set(refs)
        assert sorted(get(ready)) == [0, 2, 4, 6, 8]

    def test_an_error_is_raised(self, ray, refuse):
        refs = [refuse.remote(number) for number in range(5)]
        with pytest.raises(ValueError, match="refused 3"):
            list(ray.util.as_completed(refs))

    def test_malformed_questions(self, ray, double):
        refs = [double.remote(1)]
        with pytest.raises(ValueError, match="`chunk_size` must be >= 1"):
            list(ray.util.as_completed(refs, chunk_size=0))
        with pytest.raises(ValueError, match="num_returns"):
            list(ray.util.as_completed(refs, num_returns=2))


class TestMapUnordered:
    @pytest.mark.parametrize("backpressure_size", [1, 2, 100, None])
    def test_all_results_come(self, ray, double, backpressure_size):
        results = ray.util.map_unordered(
            double, range(30), backpressure_size=backpressure_size, chunk_size=3
        )
        assert sorted(results) == [2 * number for number in range(30)]

    def test_items_are_taken_as_there_is_room(self, ray, double):
        taken = []

        def items():
            for number in range(10):
                taken.append(number)
                yield number

        results = ray.util.map_unordered(double, items(), backpressure_size=3, chunk_size=1)
        assert taken == []
        assert next(results) in (0, 2, 4)
        assert taken == [0, 1, 2]
        assert len(list(results)) == 9
        assert taken == list(range(10))

    def test_methods_of_actors(self, ray):
        @ray.remote(num_cpus=0)
        class Worker:
            def double(self, value):
                return 2 * value

        assert sorted(ray.util.map_unordered(Worker.remote().double, range(4))) == [0, 2, 4, 6]

    def test_references_instead_of_values(self, ray, get, double):
        refs = list(ray.util.map_unordered(double, range(5), yield_obj_refs=True))
        assert sorted(get(refs)) == [0, 2, 4, 6, 8]

    def test_an_error_is_raised(self, ray, refuse):
        with pytest.raises(ValueError, match="refused 3"):
            list(ray.util.map_unordered(refuse, range(5)))

    def test_malformed_questions(self, ray, double):
        with pytest.raises(ValueError, match="backpressure_size must be positive"):
            list(ray.util.map_unordered(double, [1], backpressure_size=0))
        with pytest.raises(ValueError, match="`chunk_size` must be >= 1"):
            list(ray.util.map_unordered(double, [1], chunk_size=0))
        with pytest.raises(ValueError, match="remote function"):
            list(ray.util.map_unordered(print, [1]))
