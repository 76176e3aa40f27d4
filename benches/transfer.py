"""How fast objects travel from machine to machine, beside a bare TCP connection.

    python benches/transfer.py [--rounds 3] [--json]

Two machines, as network namespaces on this one, make a cluster; a driver on the first makes values
and tasks on the second read them, and the other way round. Figures are GB/s, the best of the
rounds. Both ends share the processors of this machine, so a bare connection is what there is to
compare with, not the number by itself.
"""

from __future__ import annotations

import argparse
import json
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


def main() -> int:
    parser = argparse.ArgumentParser(description="how fast objects travel between machines")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    arguments = parser.parse_args()
    reason = network.why_not()
    if reason is not None:
        print(f"no figures: {reason}", file=sys.stderr)
        return 1
    processes.mark_this_run()
    with tempfile.TemporaryDirectory(prefix="whipray-bench-") as name, network.Network(2) as net:
        figures = {"a bare connection": max(bare(net) for _ in range(arguments.rounds))}
        folder = Path(name)
        drivers = Drivers(folder)
        cluster = Machines(net, folder, drivers)
        size = f"--object-store-memory={2_500_000_000}"
        cluster.start_head("--num-cpus=2", size)
        cluster.join(1, "--num-cpus=2", '--resources={"machine1": 1}', size)
        try:
            driver = cluster.driver(0, TRANSFERS, arguments=[str(arguments.rounds)])
            assert driver.process.wait(600) == 0, driver.told()
            told = driver.stdout
        finally:
            drivers.end_all()
    (line,) = [line for line in told.splitlines() if line.startswith("figures")]
    figures.update(json.loads(line.partition(" ")[2]))
    if arguments.json:
        print(json.dumps(figures))
    else:
        for what, rate in figures.items():
            print(f"{what:32} {rate:6.2f} GB/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
