"""Values that travel by accident: what a definition carries, what is passed again and again."""

import numpy
import pytest

pytestmark = [pytest.mark.cluster(num_cpus=1)]

MIB = 1024 * 1024
LIMIT = {"FUNCTION_SIZE_ERROR_THRESHOLD": str(11 * MIB)}


@pytest.mark.whipray_only
def test_a_closure_that_carries_much_is_named_once(cluster, ray, get, capfd):
    weights = numpy.zeros(2 * MIB, dtype=numpy.uint8)
    small = "not worth a word"

    @ray.remote
    def use():
        return len(weights), small

    assert get([use.remote(), use.remote()])[0][0] == 2 * MIB
    told = capfd.readouterr().err
    assert told.count("'weights' (a variable around use, a numpy.ndarray of 2.0 MiB)") == 1
    assert "weights_ref = ray.put(weights)" in told
    assert "'small'" not in told


@pytest.mark.whipray_only
def test_a_global_variable_and_an_attribute_of_a_class_are_named(drivers):
    driver = drivers.run(
        """
        import whipray as ray

        table = list(range(1_000_000))

        class Model:
            weights = bytes(3 * 1024 * 1024)

        @ray.remote
        class Server(Model):
            def ask(self):
                return len(table), len(self.weights)

        ray.init(num_cpus=1)
        print(ray.get(Server.remote().ask.remote()))
        """
    )
    assert "'weights' (an attribute of Model, a bytes of 3.0 MiB)" in driver.stderr
    assert "'table' (a global variable that ask uses, a list of" in driver.stderr


@pytest.mark.whipray_only
def test_a_small_definition_is_not_talked_about(cluster, ray, get, capfd):
    few = bytes(MIB // 2)
    assert get(ray.remote(lambda: len(few)).remote()) == MIB // 2
    assert "(whipray)" not in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["def target(): return len(big)", "class target: x = big"])
def test_a_definition_that_is_too_large_is_refused(drivers, engine, kind):
    driver = drivers.run(
        f"""
        import {engine.name} as ray

        big = bytes(12 * 1024 * 1024)

        {kind}

        ray.init(num_cpus=1)
        try:
            ray.remote(target).remote()
        except ValueError as error:
            print("refused:", error)
        """,
        environment=LIMIT,
    )
    assert "target is too large (12 MiB > FUNCTION_SIZE_ERROR_THRESHOLD=11 MiB)" in driver.stdout


@pytest.mark.whipray_only
def test_an_argument_that_is_passed_again_and_again_is_named_once(cluster, ray, get, capfd):
    frame = numpy.ones(2 * MIB, dtype=numpy.uint8)
    first_row = ray.remote(lambda rows, scale=1: int(rows[0]) * scale)
    assert get([first_row.options(name="first_row").remote(frame) for _ in range(6)]) == [1] * 6
    told = capfd.readouterr().err
    assert told.count("The same 'frame' (a numpy.ndarray of 2.0 MiB)") == 1
    assert "frame_ref = ray.put(frame)" in told


@pytest.mark.whipray_only
def test_ever_new_arguments_are_what_tasks_are_for(cluster, ray, get, capfd):
    length = ray.remote(lambda value: len(value))
    for _ in range(6):
        assert get(length.remote(numpy.ones(2 * MIB, dtype=numpy.uint8))) == 2 * MIB
    reference = ray.put(bytes(2 * MIB))
    assert get([length.remote(reference) for _ in range(6)]) == [2 * MIB] * 6
    assert "(whipray)" not in capfd.readouterr().err
