"""Where the processes of a group find each other: the cluster's key-value store."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from whipray import _core, _session

NAMESPACE = "collective"
_BEGIN = b"/begin"
_FIRST_PAUSE_SECONDS = 0.001
_LONGEST_PAUSE_SECONDS = 0.05


class ClusterStore(dist.Store):
    """A store of torch over the cluster's: keys of one meeting of one group."""

    def __init__(self, meeting: str, timeout: timedelta) -> None:
        """``timeout`` is how long a key may take to be written."""
        super().__init__()
        self._prefix = f"{meeting}/".encode()
        self._timeout = timeout

    def _key(self, key: str) -> bytes:
        return self._prefix + key.encode()

    def set(self, key: str, value: Any) -> None:
        """Write a key."""
        data = value.encode() if isinstance(value, str) else bytes(value)
        _core.kv_put(NAMESPACE, self._key(key), data, True)

    def get(self, key: str) -> bytes:
        """The value of a key, which may be written later. Raises TimeoutError."""
        return self._value(key, self._timeout)

    def _value(self, key: str, timeout: timedelta) -> bytes:
        return _poll(lambda: _core.kv_get(NAMESPACE, self._key(key)), timeout, key)

    def check(self, keys: list[str]) -> bool:
        """Whether all are written."""
        return all(_core.kv_exists(NAMESPACE, self._key(key)) for key in keys)

    def wait(self, keys: list[str], timeout: timedelta | None = None) -> None:
        """Return when all are written. Raises TimeoutError."""
        for key in keys:
            self._value(key, timeout or self._timeout)

    def delete_key(self, key: str) -> bool:
        """Forget a key; whether it was there."""
        return _core.kv_delete(NAMESPACE, self._key(key))

    def clear(self) -> None:
        """Forget all keys of the meeting."""
        for key in _core.kv_keys(NAMESPACE, self._prefix):
            _core.kv_delete(NAMESPACE, key)


def meet(
    group_name: str,
    rank: int,
    world_size: int,
    wait: timedelta,
    timeout: timedelta,
    connect: Callable[[dist.Store], Any],
) -> Any:
    """What ``connect`` makes of a store that the processes of the group share.

    ``connect`` comes back when this process has met all others. ``wait`` is how long the others
    wait for rank 0, ``timeout`` how long all may take then. Raises TimeoutError.
    """
    place = f"{_session.current.namespace}/{group_name}".encode()
    if rank == 0:
        return _call_together(place, world_size, timeout, connect)
    started = time.monotonic()
    known, announced = b"", False

    def begun() -> bytes | None:
        # A place whose rank 0 has died says nothing, until the next one writes it anew.
        nonlocal known, announced
        current = _core.kv_get(NAMESPACE, place)
        if current is not None and current != known:
            known, announced = current, True
            _core.kv_put(NAMESPACE, known + f"/here/{rank}".encode(), b"", True)
        if not announced and time.monotonic() - started > wait.total_seconds():
            raise _late("rank 0", wait)
        return _core.kv_get(NAMESPACE, known + _BEGIN) if announced else None

    _poll(begun, timeout, "one of the others")
    return connect(ClusterStore(known.decode(), timeout))


def _call_together(
    place: bytes, world_size: int, timeout: timedelta, connect: Callable[[dist.Store], Any]
) -> Any:
    """What rank 0 does: write down the meeting, and begin when all have come to it."""
    meeting = secrets.token_hex(16)
    store = ClusterStore(meeting, timeout)
    _core.kv_put(NAMESPACE, place, meeting.encode(), True)
    try:
        for rank in range(1, world_size):
            store.get(f"here/{rank}")
        # Nobody else is to come: whoever looks from now on is of the next meeting.
        _core.kv_delete(NAMESPACE, place)
        store.set("begin", b"1")
        return connect(store)
    finally:
        if _core.kv_get(NAMESPACE, place) == meeting.encode():
            _core.kv_delete(NAMESPACE, place)
        store.clear()


def _late(what: str, timeout: timedelta) -> TimeoutError:
    return TimeoutError(
        f"Timed out waiting for the rendezvous of a collective group: {what} is not there after "
        f"{timeout.total_seconds():g} s"
    )


def _poll(ask: Callable[[], bytes | None], timeout: timedelta, what: str) -> bytes:
    deadline = time.monotonic() + timeout.total_seconds()
    pause = _FIRST_PAUSE_SECONDS
    while True:
        found = ask()
        if found is not None:
            return found
        if time.monotonic() > deadline:
            raise _late(what, timeout)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
