"""Outputs of many prompts, computed together."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

from zigai_core.contracts.errors import ContextOverflowError, TokenizerError
from zigai_core.contracts.graph import Array
from zigai_core.engine.engine import Engine
from zigai_core.engine.request import Request
from zigai_core.engine.stream import Stream

TOGETHER = 64
"""Maximum number of requests in the engine at the same time."""


@contextmanager
def named(what: str) -> Iterator[None]:
    """Puts `what`, if it is not empty, before the message of an error about a text or its length."""
    try:
        yield
    except (TokenizerError, ContextOverflowError) as error:
        if not what:
            raise
        raise type(error)(f"{what}: {error}") from error


def outputs_of(engine: Engine, requests: Iterable[tuple[str, Request]]) -> Iterator[Array]:
    """Yields the outputs of each request, in order: float32 `[rows, width]`.

    Errors about a text call a request by its name, unless that is empty. Closing the iterator, or an error,
    ends all requests.
    """
    streams: deque[Stream] = deque()
    waiting = iter(requests)
    try:
        while True:
            for what, request in islice(waiting, TOGETHER - len(streams)):
                with named(what):
                    streams.append(engine.submit(request))
            if not streams:
                return
            yield streams[0].outputs
            streams.popleft().close()
    finally:
        for stream in streams:
            stream.close()
