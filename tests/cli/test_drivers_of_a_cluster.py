"""Drivers that connect to the cluster that `whipray start --head` started."""

import pytest
from harness import processes
from harness.engine import START_HEAD
from harness.waiting import until

CONNECT = """
import os, sys, time
import whipray as ray
context = ray.init(address={address}, log_to_driver=False, namespace="shared")


@ray.remote
def square(value):
    return value * value


@ray.remote
class Cell:
    def __init__(self, value):
        self.value = value

    def read(self):
        return self.value
"""


@pytest.fixture
def head(whipray):
    done = whipray(*START_HEAD, "--num-cpus", "2")
    assert done.returncode == 0, done.stderr
    return processes.daemon_of(processes.of_this_run())


def connect(source, address="auto"):
    return CONNECT.format(address=repr(address)) + source


def test_auto(head, drivers):
    driver = drivers.run(
        connect("print(ray.get([square.remote(n) for n in range(5)], timeout=60))")
    )
    assert "[0, 1, 4, 9, 16]" in driver.stdout
    assert head.alive


def test_init_without_address_finds_the_started_cluster(head, drivers):
    source = CONNECT.replace("address={address}, ", "") + "print(ray.nodes()[0]['NodeID'])\n"
    first = drivers.run(source, name="first.py").stdout
    second = drivers.run(connect("print(ray.nodes()[0]['NodeID'])"), name="second.py").stdout
    assert first == second


def test_address_local_starts_another_cluster(head, drivers):
    source = "print(ray.nodes()[0]['NodeID'])\n"
    own = drivers.run(connect(source, "local"), name="first.py").stdout
    shared = drivers.run(connect(source), name="second.py").stdout
    assert own != shared


def test_address_in_the_environment(head, drivers):
    source = CONNECT.replace("address={address}, ", "")
    driver = drivers.run(
        source + "print(ray.get(square.remote(3), timeout=60))\n",
        environment={"RAY_ADDRESS": "auto"},
    )
    assert "9" in driver.stdout


def test_resources_cannot_be_given_when_connecting(head, drivers):
    driver = drivers.run(
        """
        import whipray as ray
        for options in ({"num_cpus": 4, "num_gpus": 1}, {"labels": {"a": "b"}}):
            try:
                ray.init(address="auto", **options)
            except ValueError as error:
                print(error)
        """
    )
    begin = "When connecting to an existing cluster,"
    assert f"{begin} num_cpus and num_gpus must not be provided." in driver.stdout
    assert f"{begin} labels must not be provided." in driver.stdout


def test_jobs_differ(head, drivers):
    source = connect("print('job', ray.get_runtime_context().get_job_id())")
    jobs = {drivers.run(source, name=f"{number}.py").stdout for number in range(3)}
    assert len(jobs) == 3


def test_two_drivers_at_once(head, drivers, tmp_path):
    gate = tmp_path / "gate"
    source = connect(
        f"""
print("ready", ray.get(square.remote(2), timeout=60))
while not os.path.exists({str(gate)!r}):
    time.sleep(0.02)
print("done", ray.get(square.remote(3), timeout=60))
"""
    )
    running = [drivers.start(source, name=f"{number}.py") for number in range(2)]
    for driver in running:
        driver.until_printed("ready 4")
    gate.touch()
    for driver in running:
        assert driver.finish() == 0, driver.told()
        assert "done 9" in driver.stdout


def test_processes_of_a_driver_go_and_the_cluster_stays(head, drivers):
    driver = drivers.start(
        connect(
            """
cell = Cell.remote(1)
process = ray.get(cell.__ray_call__.remote(lambda self: os.getpid()), timeout=60)
print("actor", process)
print("ready")
while True:
    time.sleep(0.05)
"""
        )
    )
    driver.until_printed("ready")
    (line,) = [line for line in driver.stdout.splitlines() if line.startswith("actor")]
    actor = processes.look_at(int(line.split()[1]))
    assert actor.alive
    driver.end()
    until(lambda: not actor.alive, "the actor of the killed driver ends")
    assert head.alive
    again = drivers.run(connect("print(ray.get(square.remote(5), timeout=60))"), name="again.py")
    assert "25" in again.stdout


def test_resources_of_a_killed_driver_come_back(head, drivers):
    driver = drivers.start(
        connect(
            """
cells = [Cell.options(num_cpus=1).remote(n) for n in range(2)]
print(ray.get([cell.read.remote() for cell in cells], timeout=60))
print("ready")
while True:
    time.sleep(0.05)
"""
        )
    )
    driver.until_printed("ready")
    driver.end()
    again = drivers.run(
        connect("print(ray.get(square.options(num_cpus=2).remote(5), timeout=60))"),
        name="again.py",
    )
    assert "25" in again.stdout


def test_detached_actor_outlives_its_driver(head, drivers):
    drivers.run(
        connect(
            """
cell = Cell.options(name="kept", lifetime="detached").remote("from the first driver")
print(ray.get(cell.read.remote(), timeout=60))
"""
        ),
        name="first.py",
    )
    driver = drivers.run(
        connect("print(ray.get(ray.get_actor('kept').read.remote(), timeout=60))"),
        name="second.py",
    )
    assert "from the first driver" in driver.stdout


def test_detached_actor_keeps_its_environment_when_it_restarts(head, drivers, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "helpers.py").write_text("NAME = 'of the folder'\n")
    drivers.run(
        connect(
            f"""
@ray.remote(max_restarts=-1)
class Survivor:
    def __init__(self):
        import helpers

        self.seen = helpers.NAME, os.environ["OF_ACTOR"], os.getpid()

    def get(self):
        return self.seen

environment = {{"working_dir": {str(folder)!r}, "env_vars": {{"OF_ACTOR": "yes"}}}}
options = {{"name": "survivor", "lifetime": "detached", "runtime_env": environment}}
print(ray.get(Survivor.options(**options).remote().get.remote(), timeout=60))
"""
        ),
        name="first.py",
    )
    driver = drivers.run(
        connect(
            """
survivor = ray.get_actor("survivor")
first = ray.get(survivor.get.remote(), timeout=60)
ray.kill(survivor, no_restart=False)
while True:
    try:
        second = ray.get(survivor.get.remote(), timeout=60)
    except ray.exceptions.ActorUnavailableError:
        continue
    if second[2] != first[2]:
        break
assert first[:2] == second[:2] == ("of the folder", "yes"), (first, second)
print("restarted as it was")
"""
        ),
        name="second.py",
    )
    assert "restarted as it was" in driver.stdout


def test_actor_without_lifetime_goes_with_its_driver(head, drivers):
    drivers.run(
        connect("print(ray.get(Cell.options(name='gone').remote(1).read.remote(), timeout=60))"),
        name="first.py",
    )
    driver = drivers.run(
        connect(
            """
try:
    ray.get_actor("gone")
except ValueError as error:
    print("refused")
"""
        ),
        name="second.py",
    )
    assert "refused" in driver.stdout


def test_shutdown_and_connect_again(head, drivers):
    driver = drivers.run(
        connect(
            """
print("first", ray.get(square.remote(2), timeout=60))
ray.shutdown()
ray.init(address="auto", log_to_driver=False)
print("second", ray.get(square.remote(3), timeout=60))
"""
        )
    )
    assert "first 4" in driver.stdout and "second 9" in driver.stdout


def test_status_tells_what_waits(head, drivers, whipray, tmp_path):
    gate = tmp_path / "gate"
    driver = drivers.start(
        connect(
            f"""
reference = ray.remote(resources={{"platinum": 3}})(lambda: 1).remote()
print("ready")
while not os.path.exists({str(gate)!r}):
    ray.wait([reference], timeout=0.05)
"""
        )
    )
    driver.until_printed("ready")
    until(lambda: "platinum" in whipray("status").stdout, "status tells what the task waits for")
    gate.touch()
    assert driver.finish() == 0, driver.told()


def test_stop_while_a_driver_waits(head, drivers, whipray, tmp_path):
    started = tmp_path / "started"
    driver = drivers.start(
        connect(
            f"""
@ray.remote
def endless():
    open({str(started)!r}, "w").close()
    while True:
        time.sleep(0.05)

try:
    ray.get(endless.remote())
except ray.exceptions.RayError as error:
    print("heard", type(error).__name__)
"""
        )
    )
    until(started.exists, "the task runs")
    assert whipray("stop").returncode == 0
    assert driver.finish() == 0, driver.told()
    assert "heard" in driver.stdout
    until(lambda: not processes.of_this_run(), "every process of the cluster is gone")


def test_no_cluster_to_connect_to(place, drivers):
    driver = drivers.run(
        """
        import whipray as ray
        try:
            ray.init(address="auto")
        except ConnectionError as error:
            print("refused:", str(error).count(chr(10)) == 0)
            print(error)
        """
    )
    assert "refused: True" in driver.stdout
    assert "setting `--address` flag or `RAY_ADDRESS` environment variable." in driver.stdout


def test_address_of_nobody(place, drivers, free_port):
    driver = drivers.run(
        f"""
        import whipray as ray
        try:
            ray.init(address="127.0.0.1:{free_port}")
        except ConnectionError as error:
            print("refused:", "{free_port}" in str(error))
        """
    )
    assert "refused: True" in driver.stdout


def test_fibonacci_on_a_started_cluster(head, drivers):
    driver = drivers.run(
        connect(
            """
@ray.remote
def fibonacci(size):
    numbers = []
    for i in range(size):
        numbers.append(i if i < 2 else numbers[i - 1] + numbers[i - 2])
    return size

for size in (10_000, 100_000):
    print(ray.get([fibonacci.remote(size) for _ in range(os.cpu_count())], timeout=120))
"""
        )
    )
    assert "[10000" in driver.stdout and "[100000" in driver.stdout
