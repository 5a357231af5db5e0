"""The user's editor, run on a file."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from zigai_cli.failure import InputError

KNOWN = ("editor", "nano", "vi", "notepad")
"""Editors of which the first that is installed runs where neither VISUAL nor EDITOR names one."""


def edit_file(file: Path) -> None:
    """Run the editor on a file until it ends. Raises `InputError` if it cannot be run or fails."""
    named = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    editor = named or next(filter(shutil.which, KNOWN), "vi")
    try:
        code = subprocess.run([*shlex.split(editor), str(file)], check=False).returncode
    except ValueError as error:
        raise InputError(f"$VISUAL or $EDITOR is not a command: {editor}") from error
    except OSError as error:
        raise InputError(
            f"cannot run the editor {editor} ({error.strerror}): set $EDITOR to another"
        ) from error
    if code:
        raise InputError(f"the editor {editor} failed with exit code {code}")


def edit_text(text: str) -> str:
    """Return the text as the editor leaves it. Raises what `edit_file` raises."""
    with tempfile.TemporaryDirectory(prefix="zig-ai-") as folder:
        file = Path(folder) / "message.md"
        file.write_text(text, encoding="utf-8", errors="replace")
        edit_file(file)
        return file.read_text(encoding="utf-8", errors="replace")
