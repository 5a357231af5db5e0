"""How much memory Python allocates; a compiled library's own memory is not seen."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class PeakMemory:
    """The most bytes allocated at one time in a block, in addition to those allocated before it.

    >>> with PeakMemory() as peak:
    ...     _ = bytes(1_000_000)
    >>> 1_000_000 <= peak.nbytes < 1_100_000
    True
    """

    nbytes: int = 0
    """Known when the block has ended, by an exception too."""

    def __enter__(self) -> PeakMemory:
        self._tracing = traced()
        self._tracing.__enter__()
        tracemalloc.reset_peak()
        self._before = tracemalloc.get_traced_memory()[0]
        return self

    def __exit__(self, *error: object) -> None:
        self.nbytes = tracemalloc.get_traced_memory()[1] - self._before
        self._tracing.__exit__(None, None, None)


@contextmanager
def traced() -> Iterator[None]:
    """Traces allocations in a block; around many uses of `PeakMemory`, which then need not start it each."""
    running = tracemalloc.is_tracing()
    if not running:
        tracemalloc.start()
    try:
        yield
    finally:
        if not running:
            tracemalloc.stop()


def peak_bytes(call: Callable[[], object]) -> int:
    """Returns the most bytes that a call has allocated at one time."""
    with PeakMemory() as peak:
        call()
    return peak.nbytes
