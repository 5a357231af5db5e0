"""Bytes per second that threads read from memory together: the limit on decode, which reads every weight."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

STREAM = 96 << 20
"""Most bytes that each thread reads in a pass: several times the cache per core of large CPUs."""
IN_ALL = 1 << 30
"""Most bytes that all threads read in a pass, and that are allocated."""
SECONDS = 1.0
"""Time after which no further pass begins."""


def read_bandwidth(threads: int) -> float:
    """Bytes per second of the best pass. Takes about a second, and at most `IN_ALL` of memory.

    A pass is the maximum of an array of integers in each thread, which numpy computes with SIMD and without
    the interpreter's lock. Raises `MemoryError` if the arrays cannot be allocated, and
    `RuntimeError` if the threads cannot be started.
    """
    size = min(STREAM, IN_ALL // threads) // 8
    data = [np.ones(size, np.uint64) for _ in range(threads)]
    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        end = time.perf_counter() + SECONDS
        for number in range(20):
            began = time.perf_counter()
            if number > 1 and began > end:
                break
            list(pool.map(np.max, data))
            best = min(best, time.perf_counter() - began)
    return 8 * size * threads / best
