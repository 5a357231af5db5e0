"""The clipboard of the machine at which the user sits."""

from __future__ import annotations

import base64
import shutil
import subprocess
from typing import TextIO

LONGEST = 74_994
"""Largest text for the sequence OSC 52, in bytes: xterm and others drop longer ones."""
_PROGRAMS = (
    ("pbcopy",),
    ("wl-copy",),
    ("xclip", "-selection", "clipboard"),
    ("xsel", "--clipboard", "--input"),
    ("clip.exe",),
)


def copy(text: str, terminal: TextIO) -> str | None:
    """Copy a text, by a program of the desktop if there is one, else through the terminal.

    Returns how, as a phrase, or None if neither is possible. A terminal does not tell whether it has copied;
    the sequence is OSC 52 of xterm's control sequences.
    """
    content = text.encode("utf-8", "replace")
    for program in _PROGRAMS:
        if shutil.which(program[0]) and _run(program, content):
            return f"by {program[0]}"
    if not terminal.isatty() or len(content) > LONGEST:
        return None
    terminal.write(f"\x1b]52;c;{base64.b64encode(content).decode()}\x07")
    terminal.flush()
    return "through the terminal (OSC 52)"


def _run(program: tuple[str, ...], content: bytes) -> bool:
    quiet = subprocess.DEVNULL
    try:
        done = subprocess.run(program, input=content, stdout=quiet, stderr=quiet, timeout=3, check=False)
    except (OSError, subprocess.SubprocessError):
        return False  # such as wl-copy without a Wayland session
    return done.returncode == 0
