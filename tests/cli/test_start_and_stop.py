"""`whipray start --head`, `status` and `stop`."""

import json
import os
import signal
import socket

import pytest
from harness import processes
from harness.engine import START_HEAD
from harness.waiting import GENEROUS_SECONDS, until


def one_line(text):
    """The only line of `text`, which must not be a crash of the program."""
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert "panicked" not in lines[0] and "Traceback" not in lines[0]
    return lines[0]


def accepts_connections(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until_nothing_runs():
    until(lambda: not processes.of_this_run(), "every process of the cluster is gone")


def test_start_and_stop(whipray, place):
    done = whipray(*START_HEAD)
    assert done.returncode == 0, done.stderr
    assert processes.daemon_of(processes.of_this_run())
    assert (place / "whipray" / "current_cluster").exists()
    done = whipray("stop")
    assert done.returncode == 0, done.stderr
    until_nothing_runs()
    assert not (place / "whipray" / "current_cluster").exists()


def test_cluster_outlives_the_command(whipray):
    whipray(*START_HEAD)
    daemon = processes.daemon_of(processes.of_this_run())
    assert whipray("status").returncode == 0
    assert daemon.alive


def test_start_tells_how_to_connect_and_to_stop(whipray):
    told = whipray(*START_HEAD).stdout
    assert "auto" in told
    assert "whipray stop" in told


def test_resources(whipray):
    done = whipray(
        *(*START_HEAD, "--num-cpus", "3", "--num-gpus", "2"),
        *("--resources", '{"gold": 5}'),
    )
    assert done.returncode == 0, done.stderr
    told = whipray("status").stdout
    for text in ("CPU", "3", "GPU", "2", "gold", "5"):
        assert text in told


@pytest.mark.parametrize(
    "resources",
    ["{", "[1]", '"gold"', '{"gold": "much"}', '{"gold": -1}', '{"CPU": 1}', "gold=1"],
)
def test_bad_resources(whipray, resources):
    done = whipray(*START_HEAD, "--resources", resources)
    assert done.returncode in (1, 2)
    assert "resources" in done.stderr.lower()
    assert "panicked" not in done.stderr
    until_nothing_runs()


def test_port(whipray, free_port):
    done = whipray("start", "--head", "--port", str(free_port))
    assert done.returncode == 0, done.stderr
    assert str(free_port) in done.stdout
    until(lambda: accepts_connections(free_port), "the daemon listens on its port")
    whipray("stop")
    until(lambda: not accepts_connections(free_port), "nobody listens any more")


def test_port_is_taken(whipray, taken_port):
    done = whipray("start", "--head", "--port", str(taken_port))
    assert done.returncode == 1
    assert str(taken_port) in one_line(done.stderr)
    until_nothing_runs()


def test_second_start_on_the_same_port(whipray, free_port):
    assert whipray("start", "--head", "--port", str(free_port)).returncode == 0
    daemon = processes.daemon_of(processes.of_this_run())
    done = whipray("start", "--head", "--port", str(free_port))
    assert done.returncode == 1
    one_line(done.stderr)
    assert daemon.alive
    assert whipray("status").returncode == 0


def test_temporary_folder(whipray, tmp_path):
    folder = tmp_path / "elsewhere"
    done = whipray(*START_HEAD, "--temp-dir", str(folder))
    assert done.returncode == 0, done.stderr
    latest = folder / "session_latest"
    assert latest.is_symlink()
    assert (latest / "logs").is_dir()
    node = json.loads((latest / "node.json").read_text())
    assert node["endpoint"].startswith("unix:@")
    assert whipray("stop").returncode == 0
    until_nothing_runs()


def test_temporary_folder_is_a_file(whipray, tmp_path):
    file = tmp_path / "file"
    file.touch()
    done = whipray(*START_HEAD, "--temp-dir", str(file))
    assert done.returncode == 1
    assert str(file) in one_line(done.stderr)
    until_nothing_runs()


def test_temporary_folder_that_cannot_be_written(whipray):
    done = whipray(*START_HEAD, "--temp-dir", "/proc/no/such/folder")
    assert done.returncode == 1
    assert "/proc/no/such/folder" in one_line(done.stderr)
    until_nothing_runs()


def test_start_without_head(whipray):
    done = whipray("start")
    assert done.returncode in (1, 2)
    assert "--head" in done.stderr
    until_nothing_runs()


def test_stop_without_a_cluster(whipray):
    done = whipray("stop")
    assert done.returncode == 0
    assert "no" in (done.stdout + done.stderr).lower()


def test_status_without_a_cluster(whipray):
    done = whipray("status")
    assert done.returncode == 1
    assert "cluster" in one_line(done.stderr).lower()


def test_health_check(whipray, free_port):
    one_line(whipray("health-check").stderr)
    assert whipray("health-check").returncode == 1
    whipray(*START_HEAD)
    done = whipray("health-check", "--skip-version-check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert whipray("health-check", "--address", f"127.0.0.1:{free_port}").returncode == 1
    assert "no component" in one_line(whipray("health-check", "--component", "x").stderr)


def test_stop_twice(whipray):
    whipray(*START_HEAD)
    assert whipray("stop").returncode == 0
    assert whipray("stop").returncode == 0
    until_nothing_runs()


def test_stop_by_force(whipray):
    whipray(*START_HEAD)
    assert whipray("stop", "--force").returncode == 0
    until_nothing_runs()


def test_start_after_the_daemon_was_killed(whipray):
    whipray(*START_HEAD)
    daemon = processes.daemon_of(processes.of_this_run())
    os.kill(daemon.pid, signal.SIGKILL)
    until_nothing_runs()
    done = whipray("status")
    assert done.returncode == 1
    one_line(done.stderr)
    assert whipray(*START_HEAD).returncode == 0
    assert whipray("status").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_block_ends_with_a_signal(blocking, place, number):
    process = blocking(*START_HEAD, "--block")
    until((place / "whipray" / "current_cluster").exists, "the cluster is started")
    assert process.poll() is None
    process.send_signal(number)
    process.wait(GENEROUS_SECONDS)
    until_nothing_runs()


def test_block_ends_with_stop(blocking, place, whipray):
    process = blocking(*START_HEAD, "--block")
    until((place / "whipray" / "current_cluster").exists, "the cluster is started")
    assert whipray("stop").returncode == 0
    process.wait(GENEROUS_SECONDS)
    until_nothing_runs()


def test_object_store_memory(whipray):
    done = whipray(*START_HEAD, "--object-store-memory", str(100 * 1024 * 1024))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("size", ["0", "-5", "lots"])
def test_bad_object_store_memory(whipray, size):
    done = whipray(*START_HEAD, f"--object-store-memory={size}")
    assert done.returncode in (1, 2)
    assert "object-store-memory" in done.stderr
    assert "panicked" not in done.stderr
    until_nothing_runs()
