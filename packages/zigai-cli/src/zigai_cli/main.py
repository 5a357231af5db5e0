"""Process entry point. Turns every outcome into an exit code; users never see a traceback."""

from __future__ import annotations

# ruff: noqa: I001 - `interrupts` comes first: Ctrl-C may arrive while the others are imported
from zigai_cli import interrupts

import os
import sys
from pathlib import Path

from zigai_cli import failure
from zigai_cli.terminal.warning_log import show_warnings


def run() -> None:
    """Run the command `zig-ai`. Always raises `SystemExit`, with the exit code."""
    no_output = sys.stdout is None
    _prepare_streams()
    show_warnings()
    if no_output:
        sys.stderr.write(
            "zig-ai: standard output is closed; to discard the output, redirect it: >/dev/null\n"
        )
        sys.exit(failure.FAILED)
    try:
        from zigai_cli.app import app  # inside `try`: the import is slow, and memory may run out

        interrupts.raise_exceptions()
        app(prog_name="zig-ai")
    except SystemExit as leaving:
        code = leaving.code
    except BaseException as error:
        code = failure.report(error)
    code = _flush(code)
    interrupts.end_at_once()
    sys.exit(code)


def _prepare_streams() -> None:
    """Replace closed standard streams by the null device, write `?` for characters a stream cannot encode."""
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - it stays open
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - it stays open
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _flush(code: str | int | None) -> str | int | None:
    """Flush the standard streams here: at exit the interpreter would print an error message of its own."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError as error:
        failed = failure.report(error)
        return code or failed
    return code
