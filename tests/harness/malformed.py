"""Bytes that are no frames, and how to bring them to a daemon's door."""

import socket
import struct

from harness.waiting import GENEROUS_SECONDS

HEADER = struct.Struct("<IHH")

BYTES = {
    "nothing": b"",
    "text": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "longest length": HEADER.pack(0xFFFFFFFF, 1, 0),
    "long length": HEADER.pack(64 * 1024 * 1024, 1, 0) + b"x" * 10_000,
    "dirty header": HEADER.pack(4, 1, 7) + b"abcd",
    "unknown code": HEADER.pack(4, 0xFFFE, 0) + b"abcd",
    "body that does not decode": HEADER.pack(16, 1, 0) + b"\xff" * 16,
    "half a header": b"\x04\x00\x00",
    "half a body": HEADER.pack(100, 1, 0) + b"x" * 50,
    "empty messages": HEADER.pack(0, 1, 0) * 1000,
    "random": bytes((number * 7919) % 251 for number in range(50_000)),
}
"""What the bytes are called, and the bytes."""

UNREPAIRABLE = ["longest length", "dirty header", "unknown code", "text", "ones"]
"""Of these, no further byte could make a frame."""


def connect(address: str) -> socket.socket:
    """Connect to `unix:@name`, `unix:/path` or `tcp:host:port`."""
    kind, _, rest = address.partition(":")
    if kind == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(GENEROUS_SECONDS)
        connection.connect("\0" + rest[1:] if rest.startswith("@") else rest)
        return connection
    host, _, port = (rest if kind == "tcp" else address).rpartition(":")
    return socket.create_connection((host, int(port)), GENEROUS_SECONDS)


def send(connection: socket.socket, data: bytes) -> None:
    """Send `data`, unless the other side closes before it has read all."""
    try:
        connection.sendall(data)
    except OSError:
        pass


def until_closed(connection: socket.socket) -> None:
    """Read until the other side closes. Raises TimeoutError if it does not."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        pass
