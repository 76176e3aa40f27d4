"""A link between two network namespaces that a process passes on, late and with losses.

    python slow_link.py NAMESPACE DEVICE NAMESPACE DEVICE

makes a device in each and says `ready`. Lines `MILLISECONDS LOSS` on standard input say how long
packets take from then on, and which part of them is lost. It ends with its standard input.
"""

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time
from typing import List, Tuple

_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TAP_WITHOUT_HEADER = 0x0002 | 0x1000
_FRAME_BYTES = 65536
_FRAMES_WAITING = 20_000


def open_device(namespace: str, device: str) -> int:
    """A TAP device in this namespace, and what reads and writes its packets."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}") as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TAP_WITHOUT_HEADER))
    return tap


class Link:
    """Two devices, and the packets that are on their way."""

    def __init__(self, first: int, second: int) -> None:
        self._other = {first: second, second: first}
        self._waiting: List[Tuple[float, int, int, bytes]] = []
        self._count = 0
        self._settings = b""
        self.seconds = 0.0
        self.loss = 0.0

    def serve(self) -> None:
        """Pass packets on until standard input ends."""
        while True:
            pause = None
            if self._waiting:
                pause = max(0.0, self._waiting[0][0] - time.monotonic())
            ready, _, _ = select.select([0, *self._other], [], [], pause)
            if 0 in ready and not self._read_settings():
                return
            for device in self._other:
                if device in ready:
                    self._take(device)
            self._deliver()

    def _read_settings(self) -> bool:
        data = os.read(0, 4096)
        *lines, self._settings = (self._settings + data).split(b"\n")
        for line in lines:
            milliseconds, loss = map(float, line.split())
            self.seconds, self.loss = milliseconds / 1000, loss
        return bool(data)

    def _take(self, device: int) -> None:
        due = time.monotonic() + self.seconds
        for _ in range(64):
            try:
                frame = os.read(device, _FRAME_BYTES)
            except OSError:
                return  # Nothing more, or the device is not up yet.
            if random.random() < self.loss or len(self._waiting) > _FRAMES_WAITING:
                continue
            self._count += 1
            heapq.heappush(self._waiting, (due, self._count, self._other[device], frame))

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            _, _, device, frame = heapq.heappop(self._waiting)
            try:
                os.write(device, frame)
            except OSError:
                pass  # Its queue is full, or it is not up: the packet is lost.


def main() -> None:
    first, first_device, second, second_device = sys.argv[1:]
    link = Link(open_device(first, first_device), open_device(second, second_device))
    print("ready", flush=True)
    link.serve()


if __name__ == "__main__":
    main()
