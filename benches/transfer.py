"""How fast objects travel from machine to machine, beside a bare TCP connection.

    python benches/transfer.py [--rounds 3] [--json]
    python benches/transfer.py --broadcast 8 [--rounds 3] [--json]

Two machines, as network namespaces on this one, make a cluster; a driver on the first makes values
and tasks on the second read them, and the other way round. Figures are GB/s, the best of the
rounds. Both ends share the processors of this machine, so a bare connection, and `iperf3` where it
is installed, is what there is to compare with, not the number by itself.

With `--broadcast COUNT` an object of 256 MiB goes from one machine to 1, 2, 4, ... COUNT others at
once, and figures are milliseconds, from the first call of a task that takes it to the last answer.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from harness import network, processes  # noqa: E402
from harness.driver import Drivers  # noqa: E402
from harness.machines import Machines  # noqa: E402

BARE = """
import socket, sys, time
BYTES = 1 << 30
if sys.argv[1] == "serve":
    with socket.create_server((sys.argv[2], 7777)) as server:
        print("ready", flush=True)
        connection, _ = server.accept()
        block = memoryview(bytearray(1 << 20))
        for _ in range(BYTES >> 20):
            connection.sendall(block)
else:
    connection = socket.create_connection((sys.argv[2], 7777))
    block = memoryview(bytearray(1 << 20))
    left, begin = BYTES, time.perf_counter()
    while left:
        left -= connection.recv_into(block, min(left, len(block)))
    print(BYTES / (time.perf_counter() - begin) / 1e9)
"""

TRANSFERS = """
import json, sys, time
import numpy
import whipray as ray

rounds = int(sys.argv[1])
ray.init(address="auto", log_to_driver=False)
THERE = {"resources": {"machine1": 0.001}, "num_cpus": 0}


@ray.remote(**THERE)
def length(*values):
    return sum(len(value) for value in values)


@ray.remote(**THERE)
def make(count, size):
    return [ray.put(numpy.ones(size, dtype="u1")) for _ in range(count)]


def there(count, size):
    values = [ray.put(numpy.ones(size, dtype="u1")) for _ in range(count)]
    begin = time.perf_counter()
    assert ray.get(length.remote(*values)) == count * size
    return time.perf_counter() - begin


def here(count, size):
    values = ray.get(make.remote(count, size))
    begin = time.perf_counter()
    assert sum(map(len, ray.get(values))) == count * size
    return time.perf_counter() - begin


ray.get(length.remote())
figures = {}
for name, count, size in (
    ("1 of 1 GB", 1, 1_000_000_000),
    ("10 of 100 MB", 10, 100_000_000),
    ("100 of 10 MB", 100, 10_000_000),
    ("1000 of 1 MB", 1000, 1_000_000),
    ("1000 of 200 kB", 1000, 200_000),
):
    for way, measure in (("to a node", there), ("from a node", here)):
        seconds = min(measure(count, size) for _ in range(rounds))
        figures[f"{name} {way}"] = count * size / seconds / 1e9
print("figures", json.dumps(figures))
"""

BROADCAST = """
import json, sys, time
import numpy
import whipray as ray

rounds, most = map(int, sys.argv[1:])
ray.init(address="auto", log_to_driver=False)


@ray.remote(num_cpus=0)
def length(value):
    return len(value)


SIZE = 256 << 20
readers = [length.options(resources={f"machine{n}": 0.001}) for n in range(1, most + 1)]
for _ in range(3):  # The workers are there, and the memory of the stores has been touched.
    value = ray.put(numpy.ones(SIZE, dtype="u1"))
    assert ray.get([reader.remote(value) for reader in readers]) == [SIZE] * most
    del value

figures = {}
count = 1
while count <= most:
    seconds = []
    for _ in range(rounds):
        value = ray.put(numpy.ones(SIZE, dtype="u1"))
        begin = time.perf_counter()
        assert ray.get([reader.remote(value) for reader in readers[:count]]) == [SIZE] * count
        seconds.append(time.perf_counter() - begin)
        del value
    figures[f"256 MiB to {count}"] = min(seconds) * 1e3
    count *= 2
print("figures", json.dumps(figures))
"""


def bare(net: network.Network) -> float:
    """GB/s of one connection between the two machines."""
    server, client = net.hosts
    command = [sys.executable, "-c", BARE]
    serving = subprocess.Popen(
        [*server.prefix, *command, "serve", server.address], stdout=subprocess.PIPE, text=True
    )
    assert serving.stdout is not None and serving.stdout.readline() == "ready\n"
    done = client.run([*command, "read", server.address])
    serving.wait(60)
    return float(done.stdout)


def iperf3(net: network.Network) -> float:
    """GB/s of one connection between the two machines, as `iperf3` measures it."""
    server, client = net.hosts
    serving = subprocess.Popen(
        [*server.prefix, "iperf3", "--server", "--one-off", "--forceflush"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert serving.stdout is not None
    while "listening" not in serving.stdout.readline():
        assert serving.poll() is None, "iperf3 does not start"
    done = client.run(["iperf3", "--client", server.address, "--reverse", "--time=3", "--json"])
    serving.communicate(timeout=60)
    return float(json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]) / 8e9


def measure(net: network.Network, store_bytes: int, source: str, *arguments: int) -> dict:
    """The figures that a driver on the first machine of a cluster prints."""
    with tempfile.TemporaryDirectory(prefix="whipray-bench-") as name:
        drivers = Drivers(Path(name))
        cluster = Machines(net, Path(name), drivers)
        size = f"--object-store-memory={store_bytes}"
        cluster.start_head("--num-cpus=2", size)
        for number in range(1, len(net.hosts)):
            resources = f'--resources={{"machine{number}": 1}}'
            cluster.join(number, "--num-cpus=2", resources, size)
        try:
            words = [str(argument) for argument in arguments]
            driver = cluster.driver(0, source, arguments=words)
            assert driver.process.wait(600) == 0, driver.told()
            told = driver.stdout
        finally:
            drivers.end_all()
    (line,) = [line for line in told.splitlines() if line.startswith("figures")]
    return json.loads(line.partition(" ")[2])


def main() -> int:
    parser = argparse.ArgumentParser(description="how fast objects travel between machines")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--broadcast", type=int, metavar="COUNT", help="to so many machines")
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    arguments = parser.parse_args()
    reason = network.why_not()
    if reason is not None:
        print(f"no figures: {reason}", file=sys.stderr)
        return 1
    processes.mark_this_run()
    if arguments.broadcast:
        unit = "ms"
        with network.Network(1 + arguments.broadcast) as net:
            store_bytes = 600_000_000
            figures = measure(net, store_bytes, BROADCAST, arguments.rounds, arguments.broadcast)
    else:
        unit = "GB/s"
        with network.Network(2) as net:
            figures = {"a bare connection": max(bare(net) for _ in range(arguments.rounds))}
            if shutil.which("iperf3"):
                figures["iperf3"] = max(iperf3(net) for _ in range(arguments.rounds))
            figures.update(measure(net, 2_500_000_000, TRANSFERS, arguments.rounds))
    if arguments.json:
        print(json.dumps(figures))
    else:
        for what, figure in figures.items():
            print(f"{what:32} {figure:8.2f} {unit}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
