"""Ctrl-C while the program starts or ends, when an exception could not be handled.

This module is imported first of all. It uses `_signal`, the part of `signal` that is built into CPython: the
import of `signal` itself takes several milliseconds, in which Ctrl-C would be printed as a traceback.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # CPython's own
import os


def end_at_once() -> None:
    """From now on Ctrl-C ends the process with exit code 130, without an exception, if it is not ignored.

    An exception that comes up in the middle of an import or of the interpreter's end is printed as a
    traceback, or makes a C extension fail with another error.
    """
    _replace(_end)


def raise_exceptions() -> None:
    """From now on Ctrl-C raises `KeyboardInterrupt`, as Python does by default, if it is not ignored."""
    _replace(_signal.default_int_handler)


def _replace(handler: object) -> None:
    if _signal.getsignal(_signal.SIGINT) in (_signal.default_int_handler, _end):
        try:  # noqa: SIM105 - the import of contextlib takes time, too
            _signal.signal(_signal.SIGINT, handler)
        except ValueError:
            pass  # not the main thread, which alone handles signals


def _end(number: int, frame: object) -> None:
    os._exit(130)


end_at_once()
