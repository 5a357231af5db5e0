"""The command `zig-ai` of the environment that runs the tests."""

from __future__ import annotations

import subprocess
import sys


def zig_ai(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs the command without input, and asserts its exit code."""
    command = [sys.executable, "-m", "zigai_cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done
