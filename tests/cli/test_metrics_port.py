"""Where the metrics of a cluster are read."""

from harness import processes
from harness.engine import START_HEAD
from harness.prometheus import read
from harness.waiting import until

COUNTS = """
    import whipray as ray
    from whipray.util.metrics import Counter

    ray.init(address="auto")

    @ray.remote
    def count():
        Counter("counted").inc(2)

    print(ray.nodes()[0]["MetricsExportPort"])
    ray.get([count.remote() for _ in range(3)])
    Counter("counted").inc(4)
    print(ray.nodes()[0]["MetricsExportPort"])
"""


def address(whipray):
    """Where `status` says that metrics are read; None where it says nothing of them."""
    lines = whipray("status", "-v").stdout.splitlines()
    found = [line.split()[1] for line in lines if line.split()[:1] == ["metrics"]]
    return found[0] if found else None


def test_the_port_is_chosen_and_taken_at_the_start(whipray, free_port):
    done = whipray(*START_HEAD, "--metrics-export-port", str(free_port))
    assert done.returncode == 0, done.stderr
    assert address(whipray) == f"http://127.0.0.1:{free_port}/metrics"
    page = read(address(whipray))
    assert page.find("ray_resources", Name="CPU") and not page.find("ray_counted_total")


def test_a_taken_port_is_one_line(whipray, taken_port):
    done = whipray(*START_HEAD, "--metrics-export-port", str(taken_port))
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert f"port {taken_port} of 127.0.0.1 is taken" in line
    assert "--metrics-export-port" in line
    until(lambda: not processes.of_this_run(), "nothing runs")


def test_the_first_metric_opens_a_port_and_what_a_program_counted_outlives_it(whipray, drivers):
    assert whipray(*START_HEAD, "--num-cpus", "2").returncode == 0
    assert address(whipray) is None
    driver = drivers.run(COUNTS)
    before, after = (int(line) for line in driver.stdout.split())
    assert before == 0 and after > 0
    url = address(whipray)
    assert url == f"http://127.0.0.1:{after}/metrics"
    until(lambda: read(url).total("ray_counted_total") == 10, "all is counted")
