"""The speed of encoding, for benchmarks; a test must not depend on it."""

from __future__ import annotations

import time

from zigai_core.contracts.plugins import Tokenizer


def throughput(tokenizer: Tokenizer, text: str, seconds: float = 1.0) -> float:
    """Returns the speed of encoding in MB (10^6 bytes of UTF-8) per second: the fastest of the calls that
    begin within `seconds`, after a first one.
    """
    size, best = len(text.encode()), float("inf")
    tokenizer.encode(text)
    end = time.perf_counter() + seconds
    while True:
        begin = time.perf_counter()
        tokenizer.encode(text)
        now = time.perf_counter()
        best = min(best, now - begin)
        if now >= end:
            return size / max(best, 1e-9) / 1e6
