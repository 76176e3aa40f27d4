"""Bytes that are no frames close the connection that they came on, and nothing else."""

import json
import os
import socket
from pathlib import Path

import pytest
from harness import leaks
from harness.engine import START_HEAD, run_command
from harness.malformed import BYTES, HEADER, UNREPAIRABLE, connect, send, until_closed

pytestmark = [pytest.mark.cluster(num_cpus=2), pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def node(ray, cluster):
    """What the daemon wrote about itself into the session's folder."""
    context = ray.get_runtime_context()
    folder = Path(context.get_temp_dir()) / context.get_session_name()
    return json.loads((folder / "node.json").read_text())


@pytest.fixture
def address(node):
    return node["endpoint"]


@pytest.mark.parametrize("name", BYTES)
def test_connection_is_closed_and_the_others_live(ray, get, address, name):
    with connect(address) as connection:
        send(connection, BYTES[name])
        half_close(connection)
        until_closed(connection)
    assert get(ray.remote(lambda: "still works").remote()) == "still works"


@pytest.mark.parametrize("name", UNREPAIRABLE)
def test_closed_without_waiting_for_our_end(address, name):
    with connect(address) as connection:
        send(connection, BYTES[name])
        until_closed(connection)


def test_many_connections_that_say_nothing(ray, get, address):
    connections = [connect(address) for _ in range(50)]
    assert get([ray.remote(lambda n=n: n).remote() for n in range(10)]) == list(range(10))
    for connection in connections:
        connection.close()
    assert get(ray.remote(lambda: "still works").remote()) == "still works"


def test_first_message_without_the_token_opens_nothing(ray, get, address):
    with connect(address) as connection:
        body = b"\x08\x01\x12\x20" + b"0" * 32
        send(connection, HEADER.pack(len(body), 1, 0) + body)
        half_close(connection)
        until_closed(connection)
    assert get(ray.remote(lambda: "still works").remote()) == "still works"


def test_sockets_of_workers(ray, get):
    """Peers listen as well: the same bytes do them no harm."""
    names = {name for name in leaks.own_sockets() if name.startswith("@")}
    assert names
    for name in names:
        for data in BYTES.values():
            try:
                with connect("unix:" + name) as connection:
                    send(connection, data)
            except ConnectionError:
                pass  # A name can be that of a connection whose listener is gone.
    assert get([ray.remote(lambda n=n: n).remote() for n in range(20)]) == list(range(20))


def test_token_is_readable_by_its_owner_alone(node):
    assert os.stat(node["token_file"]).st_mode & 0o077 == 0


def test_over_tcp(drivers, tmp_path, monkeypatch, engine):
    """The TCP address of a started cluster is as robust, and its driver notices nothing."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    started = run_command(*START_HEAD, "--num-cpus=1")
    assert started.returncode == 0, started.stderr
    try:
        node = json.loads((tmp_path / "whipray" / "session_latest" / "node.json").read_text())
        release = tmp_path / "release"
        driver = drivers.start(
            f"""
            import os, time
            {engine.import_lines()[0]}
            ray.init(address="auto", log_to_driver=False)
            echo = ray.remote(lambda value: value)
            print("ready", ray.get(echo.remote(1), timeout=60))
            while not os.path.exists({str(release)!r}):
                assert ray.get(echo.remote(2), timeout=60) == 2
            print("undisturbed")
            """
        )
        driver.until_printed("ready 1")
        for name, data in BYTES.items():
            with connect(node["tcp"]) as connection:
                send(connection, data)
                if name not in UNREPAIRABLE:
                    half_close(connection)
                until_closed(connection)
        release.touch()
        assert driver.finish() == 0, driver.told()
        assert "undisturbed" in driver.stdout
    finally:
        run_command("stop", "--force")


def half_close(connection):
    """Tell the other side that nothing more comes."""
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # The other side was quicker.
