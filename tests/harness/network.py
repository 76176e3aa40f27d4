"""Machines on a network of their own: network namespaces, joined by a bridge in one more of them.

Nothing of it is seen by the network of this machine, or reaches it: all of it lives in the
namespaces, and goes with them.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import List, Optional

from harness.waiting import GENEROUS_SECONDS, until

_PREFIX = "whipray-test-"
_BRIDGE = "bridge"


def why_not() -> Optional[str]:
    """Why there cannot be such networks here; None where there can."""
    if os.geteuid() != 0:
        return "networks of their own need root"
    try:
        probe = f"{_PREFIX}{os.getpid()}-probe"
        _ip("netns", "add", probe)
        try:
            _ip("-netns", probe, "link", "add", _BRIDGE, "type", "bridge")
            _ip("-netns", probe, "link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
        finally:
            _ip("netns", "delete", probe)
    except FileNotFoundError:
        return "the command `ip` (iproute2) is not installed"
    except subprocess.CalledProcessError as error:
        return f"this machine does not allow networks of their own: {error.stderr.strip()}"
    return None


def why_not_slow() -> Optional[str]:
    """Why there cannot be slow links here; None where there can."""
    return None if os.path.exists("/dev/net/tun") else "this machine has no /dev/net/tun"


def _ip(*words: str) -> str:
    return subprocess.run(
        ["ip", *words],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=GENEROUS_SECONDS,
    ).stdout


def _remove_forgotten() -> None:
    """Namespaces of runs that were killed: their names have the run's process id."""
    for entry in json.loads(_ip("-json", "netns", "list") or "[]"):
        name = entry["name"]
        if name.startswith(_PREFIX):
            pid = name[len(_PREFIX) :].partition("-")[0]
            if not os.path.exists(f"/proc/{pid}"):
                _ip("netns", "delete", name)


class Host:
    """One machine of a network."""

    def __init__(self, name: str, namespace: str, address: str, port: str) -> None:
        self.name = name
        self.namespace = namespace
        self.address = address
        self._port = port
        self._slow_link: Optional[subprocess.Popen] = None

    @property
    def prefix(self) -> List[str]:
        """What stands before a command that is to run on this machine. The process that it starts
        is the command itself."""
        return ["ip", "netns", "exec", self.namespace]

    def run(self, command: List[str], **options) -> subprocess.CompletedProcess:
        """Run a command to its end, with text output captured."""
        return subprocess.run(
            [*self.prefix, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=options.pop("timeout", GENEROUS_SECONDS),
            **options,
        )

    def processes(self) -> List[int]:
        """The ids of all processes that run there."""
        return [int(pid) for pid in _ip("netns", "pids", self.namespace).split()]

    def kill_all(self) -> None:
        """Kill everything that runs there, as a loss of power does."""

        def all_gone() -> bool:
            for pid in self.processes():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            return not self.processes()

        until(all_gone, f"all processes of {self.name} are gone")


class Network:
    """So many machines, each of which reaches each other one; a context manager."""

    _made = 0

    def __init__(self, count: int, slow: Optional[List[int]] = None) -> None:
        """``slow`` are the indexes of machines whose link can be delayed: such links are passed on
        by a process, and have a fraction of the throughput."""
        _remove_forgotten()
        Network._made += 1
        name = f"{_PREFIX}{os.getpid()}-{Network._made}"
        self._switch = f"{name}-switch"
        self.hosts: List[Host] = []
        atexit.register(self.remove)
        try:
            _ip("netns", "add", self._switch)
            _ip("-netns", self._switch, "link", "add", _BRIDGE, "type", "bridge")
            _ip("-netns", self._switch, "link", "set", _BRIDGE, "up")
            for index in range(count):
                host = Host(
                    f"host {index}", f"{name}-{index}", f"10.77.0.{index + 1}", f"port{index}"
                )
                self.hosts.append(host)
                self._connect(host, index in (slow or []))
        except BaseException:
            self.remove()
            raise

    def _connect(self, host: Host, is_slow: bool) -> None:
        _ip("netns", "add", host.namespace)
        _ip("-netns", host.namespace, "link", "set", "lo", "up")
        if is_slow:
            host._slow_link = _start_slow_link(host, self._switch)
        else:
            _ip(
                *("link", "add", "eth0", "netns", host.namespace),
                *("type", "veth", "peer", "name", host._port, "netns", self._switch),
            )
        _ip("-netns", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
        _ip("-netns", host.namespace, "link", "set", "eth0", "up")
        _ip("-netns", self._switch, "link", "set", host._port, "up")
        self.heal(host)

    def cut(self, host: Host) -> None:
        """From now on what is sent from or to this machine vanishes; nobody is told."""
        _ip("-netns", self._switch, "link", "set", host._port, "nomaster")

    def heal(self, host: Host) -> None:
        """The link works again."""
        _ip("-netns", self._switch, "link", "set", host._port, "master", _BRIDGE)

    def delay(self, host: Host, milliseconds: float, loss: float = 0.0) -> None:
        """Packets of a slow link take so long in each direction, and this part of them is lost."""
        link = host._slow_link
        assert link is not None and link.stdin is not None, f"{host.name} has no slow link"
        link.stdin.write(f"{milliseconds} {loss}\n")
        link.stdin.flush()

    def remove(self) -> None:
        """Kill what runs on the machines, and take everything down."""
        atexit.unregister(self.remove)
        for host in self.hosts:
            try:
                host.kill_all()
            except subprocess.CalledProcessError:
                pass  # It was not made, or is gone.
            if host._slow_link is not None:
                host._slow_link.kill()
                host._slow_link.communicate()
        for namespace in [*(host.namespace for host in self.hosts), self._switch]:
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True)
        self.hosts = []

    def __enter__(self) -> "Network":
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def _start_slow_link(host: Host, switch: str) -> subprocess.Popen:
    script = Path(__file__).with_name("slow_link.py")
    link = subprocess.Popen(
        [sys.executable, str(script), host.namespace, "eth0", switch, host._port],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert link.stdout is not None
    if link.stdout.readline() != "ready\n":
        link.kill()
        link.communicate()
        raise AssertionError("the slow link does not come up")
    return link
