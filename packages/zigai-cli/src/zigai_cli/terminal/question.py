"""A question that is answered with yes or no."""

from __future__ import annotations

import sys


def agrees(question: str) -> bool:
    """Ask on standard error and read a line of standard input. The end of the input is a no.

    Raises `KeyboardInterrupt` for Ctrl-C.
    """
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer:
        sys.stderr.write("\n")
    return answer.strip().lower() in ("y", "yes")
