"""Closes engines at the exit of the interpreter, so that no daemon thread is inside a step then."""

from __future__ import annotations

import atexit
import weakref
from contextlib import suppress
from typing import Protocol

from zigai_core.contracts.errors import ZigAIError

PATIENCE = 5.0
"""Seconds that an engine's driver has to end its step."""


class Closing(Protocol):
    """What is needed of an engine."""

    def close_at_exit(self, patience: float) -> None:
        """Closes the engine, unless its driver does not end its step within `patience` seconds."""
        ...


_engines: weakref.WeakSet[Closing] = weakref.WeakSet()


def close_at_exit(engine: Closing) -> None:
    """Closes an engine at the exit of the interpreter, if it is there then."""
    _engines.add(engine)


@atexit.register
def _close_all() -> None:
    for engine in list(_engines):
        with suppress(ZigAIError):  # of a thread that drives
            engine.close_at_exit(PATIENCE)
