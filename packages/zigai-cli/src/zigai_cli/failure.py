"""What went wrong, in one line on standard error, and the exit code that says the same to a script."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from zigai_cli.terminal import clean
from zigai_core.contracts.errors import ZigAIError, escape

MENDABLE = 1
"""The user can mend it (a wrong file, something not installed), or it is a bug and says so."""
INTERRUPTED = 130
"""As shells have it: 128 and the number of SIGINT."""


class InputError(ZigAIError):
    """What came in through an argument or standard input cannot be used."""


def tell(error: BaseException) -> int:
    """Say on standard error what happened, in one line, and give the exit code."""
    if os.environ.get("ZIGAI_DEBUG", "0") not in ("", "0"):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, BrokenPipeError):
        _discard_stdout()  # whoever read has had enough, as `head` does: not an error
        return 0
    if isinstance(error, KeyboardInterrupt):
        _write("\n" if sys.stderr.isatty() else "")
        return INTERRUPTED
    if isinstance(error, OSError):
        _discard_stdout()  # if it is full, what is still buffered would fail once more at exit
    _write(f"zig-ai: {describe(error)}\n")
    return MENDABLE


def describe(error: BaseException) -> str:
    """The error in one line, free of control characters."""
    if isinstance(error, ZigAIError):
        text = str(error)
    elif isinstance(error, OSError):
        names = f"{error.filename}: " if error.filename else ""
        text = f"{names}{error.strerror or error}"
    elif isinstance(error, MemoryError):
        text = "not enough memory: choose a smaller --context or a smaller model"
    elif isinstance(error, UnicodeDecodeError):
        text = f"standard input is not {error.encoding} text (at byte {error.start})"
    else:
        what = escape(" ".join(str(error).split()), 400)
        text = (
            f"internal error, which is a bug: {type(error).__name__}: {what} "
            "(run it again with ZIGAI_DEBUG=1 for the traceback)"
        )
    return clean(" ".join(text.split())) or type(error).__name__


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        pass  # nobody listens


def _discard_stdout() -> None:
    """Let what is still buffered go nowhere, so that it does not fail again when the interpreter ends."""
    try:
        sys.stdout.flush()
    except OSError:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError:  # not a file: a test's buffer
            sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - it stays open
