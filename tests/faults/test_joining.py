"""Nodes that cannot join a cluster: one line says why, and nothing is left of them."""

import os
import socket
import subprocess
import sys

import pytest
from harness import processes
from harness.engine import command_path, run_command
from harness.waiting import until


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Folders of the test's own, as on a machine where nothing ran before."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def head(place):
    """The address of a head that runs, with its token in `token`."""
    done = run_command(
        "start", "--head", "--port=0", "--num-cpus=1", f"--token-file={place / 'token'}"
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "is up at" in line]
    yield line.rpartition(" ")[2].rstrip(".")
    run_command("stop", "--force")


@pytest.fixture
def refused(place):
    """`refused(*options)` tries to join, in vain; the one line that says why."""

    def refused(*options, **environment):
        before = {process.pid for process in processes.of_this_run()}
        elsewhere = place / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        done = subprocess.run(
            [command_path(), "start", *options],
            env={**os.environ, "RAY_TMPDIR": str(elsewhere), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1, done.stdout + done.stderr
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1, done.stderr
        until(
            lambda: {process.pid for process in processes.of_this_run()} <= before,
            "nothing is left of the node",
        )
        return lines[0]

    return refused


def test_another_token(head, refused, place):
    (place / "wrong").write_text("not-the-token-of-this-cluster")
    line = refused(f"--address={head}", f"--token-file={place / 'wrong'}")
    assert "token" in line and head in line
    line = refused(f"--address={head}", RAY_AUTH_TOKEN="nor-this")
    assert "token" in line


def test_no_token(head, refused):
    line = refused(f"--address={head}")
    assert "--token-file" in line and "RAY_AUTH_TOKEN" in line


def test_a_token_file_that_is_not_there(head, refused, place):
    line = refused(f"--address={head}", f"--token-file={place / 'nowhere'}")
    assert str(place / "nowhere") in line


def test_another_python(head, drivers, place):
    """Values are written by one Python and read by another: both must be of one version."""
    # The head knows its own version as soon as it can run something.
    drivers.run(
        f"""
        import whipray as ray
        ray.init(address={head!r}, log_to_driver=False)
        assert ray.get(ray.remote(lambda: 1).remote(), timeout=60) == 1
        """
    )
    other = place / "python"
    version = f"{sys.version_info[0]}.{sys.version_info[1] + 1}"
    other.write_text(f'#!/bin/sh\necho "{version}"\n')
    other.chmod(0o755)
    # The native program, because the command says which Python it belongs to.
    from whipray._daemon import binary

    done = subprocess.run(
        [binary(), "start", f"--address={head}", f"--token-file={place / 'token'}"],
        env={**os.environ, "RAY_TMPDIR": str(place / "far"), "WHIPRAY_PYTHON": str(other)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout
    (line,) = done.stderr.strip().splitlines()
    assert version in line and f"{sys.version_info[0]}.{sys.version_info[1]}" in line


def test_nobody_listens(refused, place):
    (place / "token").write_text("some-token")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    line = refused(f"--address={address}", f"--token-file={place / 'token'}")
    assert address in line


def test_somebody_else_listens(refused, place):
    """A server that takes the connection and never says a word."""
    (place / "token").write_text("some-token")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        line = refused(f"--address={address}", f"--token-file={place / 'token'}")
    assert address in line


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1", "127.0.0.1:port", ":6379"])
def test_addresses_that_are_none(refused, place, address):
    (place / "token").write_text("some-token")
    line = refused(f"--address={address}", f"--token-file={place / 'token'}")
    assert address in line


def test_head_and_address(refused):
    line = refused("--head", "--address=127.0.0.1:6379")
    assert "--head" in line and "--address" in line


def test_a_port_that_is_taken(head, refused, place):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        line = refused(
            f"--address={head}",
            f"--token-file={place / 'token'}",
            f"--node-manager-port={port}",
        )
    assert str(port) in line


def test_an_address_that_is_not_ours(head, refused, place):
    line = refused(
        f"--address={head}",
        f"--token-file={place / 'token'}",
        "--node-ip-address=192.0.2.77",
    )
    assert "192.0.2.77" in line


def test_the_head_cannot_reach_the_node(machines):
    """A node that says an address at which nobody reaches it."""
    cluster = machines(2)
    cluster.start_head("--num-cpus=1")
    done = cluster[1].command(
        *("start", "--address", cluster.address, "--token-file", str(cluster.token)),
        *("--node-ip-address", "127.0.0.1"),
    )
    assert done.returncode == 1, done.stdout
    (line,) = done.stderr.strip().splitlines()
    assert "127.0.0.1" in line and "--node-ip-address" in line
    until(lambda: not cluster[1].host.processes(), "nothing is left of the node")


def test_joins_after_all(head, place):
    """What failed for want of the token works with it."""
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    done = run_command(
        *("start", "--address", head, "--num-cpus=1", "--token-file", str(place / "token")),
        RAY_TMPDIR=str(elsewhere),
    )
    assert done.returncode == 0, done.stderr
    status = run_command("status", "--address", head)
    assert "Nodes: 2 alive" in status.stdout
    done = run_command("stop", RAY_TMPDIR=str(elsewhere))
    assert done.returncode == 0, done.stderr
    until(
        lambda: "Nodes: 1 alive" in run_command("status", "--address", head).stdout,
        "the node has left",
    )
