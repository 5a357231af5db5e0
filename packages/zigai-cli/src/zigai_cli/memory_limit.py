"""The limit on the process's address space (`ulimit -v`), checked before heavy libraries are imported."""

from __future__ import annotations

import sys
from pathlib import Path

from zigai_cli.failure import InputError

HEADROOM = 256 << 20
"""Bytes that loading takes besides the file: libraries, the tokenizer, and stacks of threads."""


def check(path: Path | None = None) -> None:
    """Raise `InputError` if the limit leaves no room for libraries and, if it is given, the model's file.

    Libraries in Rust and C end the process when an allocation fails, so this is checked beforehand. Without a
    limit, or where the system does not tell how much is in use, nothing is checked.
    """
    left = _left()
    try:
        needed = HEADROOM + (path.stat().st_size if path is not None and path.is_file() else 0)
    except OSError:  # reported where the file is opened
        return
    if left is not None and left < needed:
        what = f"{path}: not enough memory: loading" if path is not None else "not enough memory: zig-ai"
        smaller = " or choose a smaller model" if path is not None else ""
        raise InputError(
            f"{what} takes at least {needed >> 20} MiB, and the limit on the address space leaves "
            f"{max(left, 0) >> 20} MiB: raise it (ulimit -v){smaller}"
        )


def _left() -> int | None:
    """Bytes of address space left under the limit; None without a limit."""
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):
        return None
    return limit - pages * resource.getpagesize()
