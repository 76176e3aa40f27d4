"""The daemon or the zygote is killed: a clear error or recovery, never a hang."""

import os
import signal

from harness import processes
from harness.waiting import until

FOLLOW = """
while not os.path.exists({release!r}):
    time.sleep(0.02)
"""


def test_driver_that_waits_hears_of_it(start, tmp_path):
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
except ray.exceptions.RayError as error:
    print("heard", type(error).__name__, str(error).replace(chr(10), " "))
"""
    )
    until(started.exists, "the task runs")
    os.kill(running.daemon.pid, signal.SIGKILL)
    assert running.driver.finish() == 0, running.driver.told()
    assert "heard" in running.driver.stdout
    assert "Traceback" not in running.driver.stderr
    running.until_all_gone()


def test_workers_and_zygote_go_with_the_daemon(start, tmp_path):
    release = tmp_path / "release"
    running = start(FOLLOW.format(release=str(release)))
    os.kill(running.daemon.pid, signal.SIGKILL)
    running.until_all_gone()
    assert running.driver.process.poll() is None
    release.touch()
    running.driver.finish()


def test_every_later_call_says_that_the_cluster_is_gone(start, tmp_path):
    release = tmp_path / "release"
    running = start(
        FOLLOW.format(release=str(release))
        + """
calls = {
    "task": lambda: ray.get(process.remote(), timeout=30),
    "actor": lambda: ray.get(actor.process.remote(), timeout=30),
    "put": lambda: ray.get(ray.put(bytes(5_000_000)), timeout=30),
    "create": lambda: ray.get(Actor.remote().process.remote(), timeout=30),
    "resources": lambda: ray.cluster_resources(),
}
for name, call in calls.items():
    try:
        call()
        print(name, "went through")
    except ray.exceptions.GetTimeoutError:
        print(name, "hung")
    except ray.exceptions.RayError as error:
        print(name, "refused", type(error).__name__)
ray.shutdown()
print("shut down")
"""
    )
    os.kill(running.daemon.pid, signal.SIGKILL)
    running.until_all_gone()
    release.touch()
    assert running.driver.finish() == 0, running.driver.told()
    told = running.driver.stdout
    for name in ("task", "actor", "create", "resources"):
        assert f"{name} refused" in told, running.driver.told()
    assert "hung" not in told
    assert "shut down" in told


def test_new_cluster_after_the_daemon_died(start, tmp_path):
    release = tmp_path / "release"
    running = start(
        FOLLOW.format(release=str(release))
        + """
ray.shutdown()
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
print("new", ray.get(process.remote(), timeout=60) not in workers)
ray.shutdown()
"""
    )
    os.kill(running.daemon.pid, signal.SIGKILL)
    running.until_all_gone()
    release.touch()
    assert running.driver.finish() == 0, running.driver.told()
    assert "new True" in running.driver.stdout


def test_daemon_that_is_asked_to_end(start, tmp_path):
    release = tmp_path / "release"
    running = start(FOLLOW.format(release=str(release)))
    os.kill(running.daemon.pid, signal.SIGTERM)
    running.until_all_gone()
    release.touch()
    running.driver.finish()


def test_zygote_dies_and_workers_are_made_all_the_same(start, tmp_path):
    release = tmp_path / "release"
    running = start(
        FOLLOW.format(release=str(release))
        + """
actors = [Actor.options(num_cpus=0).remote() for _ in range(3)]
made = set(ray.get([one.process.remote() for one in actors], timeout=60))
print("made", len(made), made.isdisjoint(workers))
print("task", ray.get(process.remote(), timeout=60) > 0)
"""
    )
    zygote = running.zygote
    os.kill(zygote.pid, signal.SIGKILL)
    until(lambda: not zygote.alive, "the zygote is gone")
    release.touch()
    assert running.driver.finish() == 0, running.driver.told()
    told = running.driver.stdout
    assert "made 3 True" in told
    assert "task True" in told
    running.until_all_gone()


def test_zygote_dies_again_and_again(start, tmp_path):
    running = start(
        f"""
for number in range(3):
    open({str(tmp_path)!r} + f"/round{{number}}", "w").close()
    while not os.path.exists({str(tmp_path)!r} + f"/go{{number}}"):
        time.sleep(0.02)
    print("round", number, ray.get(Actor.options(num_cpus=0).remote().process.remote(), timeout=60))
"""
    )
    workers = {worker.pid for worker in running.workers}
    for number in range(3):
        until((tmp_path / f"round{number}").exists, "the driver waits")

        def zygote():
            below = processes.descendants(running.driver.process.pid)
            try:
                return processes.zygote_of(below, workers)
            except AssertionError:
                return None

        victim = until(zygote, "a zygote runs")
        os.kill(victim.pid, signal.SIGKILL)
        until(lambda victim=victim: not victim.alive, "the zygote is gone")
        (tmp_path / f"go{number}").touch()
        running.driver.until_printed(f"round {number}")
    assert running.driver.finish() == 0, running.driver.told()
    running.until_all_gone()
