"""Ctrl-C while the program starts or ends, when an exception could not be handled."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType


def end_at_once() -> None:
    """From now on Ctrl-C ends the process with exit code 130, without an exception, if it is not ignored.

    An exception that comes up in the middle of an import or of the interpreter's end is printed as a
    traceback, or makes a C extension fail with another error.
    """
    _replace(_end)


def raise_exceptions() -> None:
    """From now on Ctrl-C raises `KeyboardInterrupt`, as Python does by default, if it is not ignored."""
    _replace(signal.default_int_handler)


def _replace(handler: object) -> None:
    ours = signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _end)
    if ours and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)  # type: ignore[arg-type]


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(130)


end_at_once()
