"""A cluster over the machines of a network, started by the commands that a user types."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

from harness.driver import Driver, Drivers
from harness.engine import command_path
from harness.network import Host, Network
from harness.waiting import GENEROUS_SECONDS, until

HEAD_PORT = 6379


class Machine:
    """A machine with folders of its own, so that nothing is found there by way of files."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        self.folder = folder
        folder.mkdir()
        self.environment = {"RAY_TMPDIR": str(folder), "HOME": str(folder)}

    def command(self, *words: str, **environment: str) -> subprocess.CompletedProcess:
        """Run `whipray <words>` there."""
        variables = {**os.environ, **self.environment, **environment}
        return self.host.run([command_path(), *words], env=variables)

    @property
    def node_file(self) -> Dict[str, Any]:
        """What `node.json` of the newest session says."""
        return json.loads((self.folder / "whipray" / "session_latest" / "node.json").read_text())

    @property
    def daemon(self) -> int:
        """The process id of the daemon."""
        return int(self.node_file["pid"])

    @property
    def logs(self) -> str:
        """What the daemon wrote into its log, for messages of failing tests."""
        log = self.folder / "whipray" / "session_latest" / "logs" / "daemon.log"
        return log.read_text() if log.exists() else ""


class Machines:
    """A head, on the first machine, and nodes that have joined it, on the others."""

    def __init__(self, network: Network, folder: Path, drivers: Drivers) -> None:
        self.network = network
        self.token = folder / "token"
        self._drivers = drivers
        self.machines = [
            Machine(host, folder / f"machine{index}") for index, host in enumerate(network.hosts)
        ]
        self.head = self.machines[0]
        self.address = f"{self.head.host.address}:{HEAD_PORT}"

    def __getitem__(self, index: int) -> Machine:
        return self.machines[index]

    def start_head(self, *options: str, settings: Optional[Dict[str, Any]] = None) -> None:
        """`whipray start --head` on the first machine."""
        done = self.head.command(
            *("start", "--head", "--port", str(HEAD_PORT)),
            *("--node-ip-address", self.head.host.address),
            *("--token-file", str(self.token)),
            *("--system-config", json.dumps(settings or {})),
            *_small(options),
        )
        assert done.returncode == 0, done.stderr

    def join(self, machine: Union[int, Machine], *options: str) -> None:
        """`whipray start --address` on a machine."""
        one = self.machines[machine] if isinstance(machine, int) else machine
        done = one.command(
            *("start", "--address", self.address, "--token-file", str(self.token)),
            *_small(options),
        )
        assert done.returncode == 0, done.stderr

    def start(self, settings: Optional[Dict[str, Any]] = None) -> None:
        """The head and all nodes, with 2 CPUs each and a resource `machineN`."""
        self.start_head("--num-cpus=2", '--resources={"machine0": 2}', settings=settings)
        for index in range(1, len(self.machines)):
            self.join(index, "--num-cpus=2", f'--resources={{"machine{index}": 2}}')

    def driver(self, machine: int, source: str, **options: Any) -> Driver:
        """Start a driver on a machine; options are those of `Driver`."""
        one = self.machines[machine]
        return self._drivers.start(
            source,
            prefix=one.host.prefix,
            environment={**one.environment, **options.pop("environment", {})},
            **options,
        )

    def members(self, machine: int = 0) -> Dict[str, str]:
        """Ids of the living nodes, and their addresses, as this machine says."""
        done = self.machines[machine].command("status", "--verbose")
        assert done.returncode == 0, done.stderr
        members, address = {}, ""
        for line in done.stdout.partition("\nResources")[0].splitlines():
            words = line.split()
            if line.startswith("  10."):
                address = words[0]
            elif words[:1] == ["id"]:
                members[words[1]] = address
        return members

    def until_members(self, count: int, seconds: float = GENEROUS_SECONDS) -> Dict[str, str]:
        """Wait until the head counts so many living nodes."""

        def have() -> Dict[str, str]:
            members = self.members()
            return members if len(members) == count else {}

        return until(have, f"the cluster has {count} nodes", seconds)

    def told(self) -> str:
        """The logs of all daemons, for the message of a failing assertion."""
        return "\n".join(f"--- {one.host.name}\n{one.logs[-4000:]}" for one in self.machines)


def _small(options: Any) -> List[str]:
    """The options, and a small object store where they say nothing of it."""
    given = list(options)
    if not any(option.startswith("--object-store-memory") for option in given):
        given.append(f"--object-store-memory={150 * 1024 * 1024}")
    return given
