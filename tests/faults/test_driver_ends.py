"""However a driver ends, everything that was started for it goes."""

import signal

import pytest
from harness import processes
from harness.waiting import until

WAIT = """
while True:
    time.sleep(0.05)
"""


def test_returns(start):
    running = start("")
    assert running.driver.finish() == 0
    running.until_all_gone()


def test_shuts_down_and_goes_on(start, tmp_path):
    running = start("ray.shutdown()\nprint('shut down')\n" + WAIT)
    running.driver.until_printed("shut down")
    running.until_all_gone()
    assert running.driver.process.poll() is None


def test_raises(start):
    running = start("raise ValueError('the user made a mistake')\n")
    assert running.driver.finish() == 1
    assert "ValueError: the user made a mistake" in running.driver.stderr
    running.until_all_gone()


def test_leaves_with_an_exit_code(start):
    running = start("sys.exit(7)\n")
    assert running.driver.finish() == 7
    running.until_all_gone()


def test_leaves_without_cleaning_up(start):
    running = start("os._exit(5)\n")
    assert running.driver.finish() == 5
    running.until_all_gone()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_gets_a_signal(start, number):
    running = start(WAIT)
    running.driver.send(number)
    assert running.driver.finish() != 0
    running.until_all_gone()


def test_interrupted_in_get(start, tmp_path):
    """Ctrl-C while the driver waits: a KeyboardInterrupt, not a wait for the task's end."""
    started = tmp_path / "started"
    running = start(
        f"""
@ray.remote
def endless():
    open({str(started)!r}, "w").close()
    while True:
        time.sleep(0.05)

try:
    ray.get(endless.remote())
except KeyboardInterrupt:
    print("interrupted")
    sys.exit(0)
"""
    )
    until(started.exists, "the task runs")
    running.driver.send(signal.SIGINT)
    assert running.driver.finish() == 0, running.driver.told()
    assert "interrupted" in running.driver.stdout
    running.until_all_gone()


def test_killed_in_the_middle_of_work(start, tmp_path):
    started = tmp_path / "started"
    running = start(
        f"""
@ray.remote
def busy():
    open({str(started)!r}, "w").close()
    data = bytearray(5_000_000)
    while True:
        ray.put(bytes(data))

references = [busy.remote() for _ in range(4)]
ray.get(references)
"""
    )
    until(started.exists, "the tasks run")
    running.driver.send(signal.SIGKILL)
    running.driver.finish()
    running.until_all_gone()


def test_killed_while_a_task_blocks_signals(start, tmp_path):
    started = tmp_path / "started"
    running = start(
        f"""
@ray.remote
def deaf():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    open({str(started)!r}, "w").close()
    while True:
        time.sleep(0.05)

ray.get(deaf.remote())
"""
    )
    until(started.exists, "the task runs")
    running.driver.send(signal.SIGKILL)
    running.driver.finish()
    running.until_all_gone()


def test_killed_right_after_init(engine, drivers):
    """No moment of the start may leave a daemon behind."""
    driver = drivers.start(
        f"""
        import os, signal
        {engine.import_lines()[0]}
        ray.init(num_cpus=2, include_dashboard=False)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert driver.finish() == -signal.SIGKILL
    until(lambda: not processes.of_this_run(), "everything that the driver started is gone")


def test_killed_during_init(engine, drivers):
    driver = drivers.start(
        f"""
        import os, signal, threading, time
        {engine.import_lines()[0]}

        def children():
            with open(f"/proc/{{os.getpid()}}/task/{{os.getpid()}}/children") as file:
                return file.read().split()

        def kill():
            while not children():
                time.sleep(0.0005)
            os.kill(os.getpid(), signal.SIGKILL)

        threading.Thread(target=kill, daemon=True).start()
        ray.init(num_cpus=2, include_dashboard=False)
        time.sleep(60)
        """
    )
    assert driver.finish() == -signal.SIGKILL
    until(lambda: not processes.of_this_run(), "everything that the driver started is gone")


def test_forked_child_of_the_driver_does_not_end_the_cluster(start):
    running = start(
        """
child = os.fork()
if child == 0:
    sys.exit(0)
os.waitpid(child, 0)
print("still works", ray.get(process.remote(), timeout=60) > 0)
"""
    )
    assert running.driver.finish() == 0, running.driver.told()
    assert "still works True" in running.driver.stdout
    running.until_all_gone()


def test_forked_children_end_whatever_the_parent_was_doing(start):
    """A lock that another thread waited for was handed to that thread, which no child has."""
    running = start(
        """
for _ in range(100):
    refs = [process.remote() for _ in range(50)]
    child = os.fork()
    if child == 0:
        del refs
        sys.exit(0)
    os.waitpid(child, 0)
    ray.get(refs, timeout=60)
print("all ended")
"""
    )
    assert running.driver.finish() == 0, running.driver.told()
    assert "all ended" in running.driver.stdout
    running.until_all_gone()
