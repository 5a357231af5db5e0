"""Error reports: one line on standard error, and an exit code."""

from __future__ import annotations

import errno
import os
import re
import sys
from pathlib import Path

from zigai_cli.terminal.output import clean
from zigai_core.contracts.errors import ZigAIError, escape

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT if hasattr(errno, "EDQUOT") else errno.ENOSPC)
FAILED = 1
"""Exit code for an error: one that the user can fix, or an internal one, reported as a bug."""
INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 plus the number of SIGINT, as in shells."""


class InputError(ZigAIError):
    """An argument or standard input cannot be used."""


def report(error: BaseException) -> int:
    """Write the error to standard error, in one line, and return the exit code.

    With ZIGAI_DEBUG set the traceback comes first. A broken pipe is not an error: the reader has closed it.
    """
    if os.environ.get("ZIGAI_DEBUG", "0") not in ("", "0"):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, BrokenPipeError):
        _discard_stdout()
        return 0
    if isinstance(error, KeyboardInterrupt):
        _write("\n" if sys.stderr.isatty() else "")
        return INTERRUPTED
    if isinstance(error, OSError):
        _discard_stdout()  # if the disk is full, the flush at exit would fail again
    _write(f"zig-ai: {describe(error)}\n")
    return FAILED


def describe(error: BaseException) -> str:
    """The error's text in one line, without control characters."""
    if isinstance(error, ZigAIError):
        text = str(error)
    elif isinstance(error, OSError):
        # Errors of files that are written have names.
        nameless = "standard output: " if error.errno in _FULL else ""
        names = f"{error.filename}: " if error.filename else nameless
        text = f"{names}{error.strerror or error}"
    elif isinstance(error, MemoryError) or _lacks_memory(error):
        text = (
            "not enough memory: choose a smaller --context or a smaller model, or raise the limit (ulimit -v)"
        )
    elif isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        text = (
            "a thread cannot be started: raise the limit on memory (ulimit -v) or processes (ulimit -u), or "
            "use fewer --threads"
        )
    elif isinstance(error, UnicodeDecodeError):
        text = f"standard input is not {error.encoding} text (at byte {error.start})"
    else:
        what = escape(" ".join(str(error).split()), 400)
        text = (
            f"internal error, which is a bug: {type(error).__name__}: {what} "
            "(set ZIGAI_DEBUG=1 to see the traceback)"
        )
    return clean(" ".join(text.split())) or type(error).__name__


def _lacks_memory(error: BaseException) -> bool:
    """True if a C extension could not be imported because it found no memory."""
    return isinstance(error, ImportError) and bool(
        re.search(r"failed to map segment|cannot allocate memory|MemoryError", str(error), re.IGNORECASE)
    )


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        pass  # standard error is closed or full; there is nowhere else to write


def _discard_stdout() -> None:
    """Redirect standard output to the null device if flushing it fails, or the flush at exit fails again."""
    try:
        sys.stdout.flush()
    except OSError:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError:  # no file descriptor: a test's buffer
            sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - it stays open
