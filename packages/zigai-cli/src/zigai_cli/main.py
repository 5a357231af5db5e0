"""Where the process begins and ends: whatever happens becomes an exit code, and never a traceback."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from pathlib import Path

from zigai_cli import failure
from zigai_cli.terminal import note


def run() -> None:
    """The entry point `zig-ai`; leaves with `SystemExit`."""
    _prepare_streams()
    _show_warnings()
    try:
        from zigai_cli.app import app  # typer takes its time, and Ctrl-C may come meanwhile

        app(prog_name="zig-ai")
    except SystemExit as leaving:
        code = leaving.code
    except BaseException as error:
        code = failure.tell(error)
    sys.exit(_flush(code))


def _prepare_streams() -> None:
    """Have all three streams, and let no character that one of them cannot hold end the program."""
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - it stays open
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - it stays open
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


class _Notes(logging.Handler):
    """Shows what core and plugins log: a warning is a line on standard error, without control characters."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line; a reader that is gone is no error."""
        with contextlib.suppress(OSError):
            note(f"zig-ai: {' '.join(record.getMessage().split())}", sys.stderr)


def _show_warnings() -> None:
    log = logging.getLogger("zigai")
    if not log.handlers:
        log.addHandler(_Notes(logging.WARNING))
        log.propagate = False


def _flush(code: str | int | None) -> str | int | None:
    """Write out what is buffered while an error can still be told; else the interpreter would complain."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError as error:
        told = failure.tell(error)
        return code or told
    return code
