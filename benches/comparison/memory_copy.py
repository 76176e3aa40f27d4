"""How fast this machine copies memory into warm pages: the limit of the bandwidth lines.

Two sources are measured. Memory that was written before is what an ordinary program copies. Zeros
that nobody wrote yet are what the bandwidth lines copy (a new `numpy.zeros`): the kernel backs them
with one page for all, which stays in the processor's cache, so that the copy is several times as
fast.
"""

from __future__ import annotations

import mmap
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Union

LARGE_BYTES = 800 * 1024 * 1024
PART_BYTES = 80 * 1024 * 1024
GIGABYTE = 1e9

Buffer = Union[bytes, mmap.mmap]


@dataclass(frozen=True)
class CopyRates:
    """Gigabytes (10^9 bytes) per second from written memory and from zeros never written."""

    written: float
    zeros: float


def one_process(seconds: float) -> CopyRates:
    """One process that copies the same 839 MB again and again, `seconds` per source."""
    destination = memoryview(bytearray(LARGE_BYTES))
    zeros = _new_zeros(LARGE_BYTES)
    from_zeros = _rate(destination, lambda: zeros, seconds)
    zeros.close()
    written = b"\1" * LARGE_BYTES
    return CopyRates(_rate(destination, lambda: written, seconds), from_zeros)


def all_processors(seconds: float) -> CopyRates:
    """One process per CPU, together: 84 MB at a time, zeros from a new allocation each time."""
    number = os.cpu_count() or 1
    with get_context("spawn").Pool(number) as pool:
        rates = pool.map(_copy_parts, [seconds] * number, chunksize=1)
    return CopyRates(
        number * statistics.fmean(rate.written for rate in rates),
        number * statistics.fmean(rate.zeros for rate in rates),
    )


def _copy_parts(seconds: float) -> CopyRates:
    destination = memoryview(bytearray(PART_BYTES))
    written = b"\1" * PART_BYTES
    return CopyRates(
        _rate(destination, lambda: written, seconds),
        _rate(destination, lambda: _new_zeros(PART_BYTES), seconds),
    )


def _rate(destination: memoryview, source: Callable[[], Buffer], seconds: float) -> float:
    destination[:] = source()
    count = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        destination[:] = source()
        count += 1
    return count * len(destination) / GIGABYTE / elapsed


def _new_zeros(size: int) -> mmap.mmap:
    """Memory as numpy allocates large arrays of zeros: huge pages where the kernel has them."""
    zeros = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        zeros.madvise(mmap.MADV_HUGEPAGE)
    return zeros
