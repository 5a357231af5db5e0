"""Outputs of many prompts, computed together."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

from zigai_core.contracts.graph import Array
from zigai_core.engine.engine import Engine
from zigai_core.engine.request import Request
from zigai_core.engine.stream import Stream

TOGETHER = 64
"""Maximum number of requests in the engine at the same time."""


def outputs_of(engine: Engine, requests: Iterable[Request]) -> Iterator[Array]:
    """Yields the outputs of each request, in order: float32 `[rows, width]`.

    Closing the iterator, or an error, ends all requests.
    """
    streams: deque[Stream] = deque()
    waiting = iter(requests)
    try:
        while True:
            streams.extend(map(engine.submit, islice(waiting, TOGETHER - len(streams))))
            if not streams:
                return
            yield streams[0].outputs
            streams.popleft().close()
    finally:
        for stream in streams:
            stream.close()
