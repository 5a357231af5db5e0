"""Time in which a new process imports zigai, shows `zig-ai --help`, or shows the prompt of a chat: medians.

The prompt is that of an interactive chat at a terminal, whether or not the model is loaded by then. typer
imports pydantic to convert the values of parameters; what that costs is a case of its own.

usage: python benchmarks/start.py [--runs N] [--json FILE] [--check]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pexpect

PROMPT = r">(\x1b\[[0-9;]*[CD]| )"
"""What an interactive chat shows when it takes a message."""
SECONDS = 60
"""Most seconds to wait for a process."""


def measure(command: Sequence[str], runs: int) -> list[float]:
    """Milliseconds of each of `runs` new processes, after one that fills the disk cache."""
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        times.append((time.perf_counter() - began) * 1000)
    return times[1:]


def measure_prompt(command: Sequence[str], runs: int) -> list[float]:
    """Milliseconds until each of `runs` new processes at a terminal shows its prompt, after one more.

    Raises `SystemExit` if a process shows none.
    """
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        program, *arguments = command
        terminal = pexpect.spawn(program, arguments, encoding="utf-8", timeout=SECONDS, dimensions=(30, 100))
        try:
            terminal.expect(PROMPT)
        except (pexpect.EOF, pexpect.TIMEOUT):
            raise SystemExit(f"{' '.join(command)} shows no prompt: {terminal.before}") from None
        times.append((time.perf_counter() - began) * 1000)
        terminal.sendeof()
        terminal.close(force=True)
    return times[1:]


def modules(command: Sequence[str]) -> set[str]:
    """The top-level modules that a Python process imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command], capture_output=True, text=True, check=True
    )
    names = (line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line)
    return {name.partition(".")[0] for name in names}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--check", action="store_true", help="fail if a median is over its limit")
    options = parser.parse_args()

    script = shutil.which("zig-ai", path=str(Path(sys.executable).parent)) or "zig-ai"
    python = sys.executable
    cases: dict[str, tuple[Callable[[Sequence[str], int], list[float]], list[str], int | None]] = {
        "python -c pass": (measure, [python, "-c", "pass"], None),
        "import numpy": (measure, [python, "-c", "import numpy"], None),
        "import typer": (measure, [python, "-c", "import typer"], None),
        "import pydantic": (measure, [python, "-c", "from pydantic import TypeAdapter"], None),
        "import zigai": (measure, [python, "-c", "import zigai"], 200),
        "zig-ai version": (measure, [script, "version"], None),
        "zig-ai --help": (measure, [script, "--help"], 250),
        "zig-ai chat, prompt": (measure_prompt, [script, "chat"], 400),
    }
    figures: list[dict[str, Any]] = []
    print(f"{'new process':<20}{'median ms':>10}{'min':>8}{'max':>8}{'limit':>8}")
    for name, (run, command, limit) in cases.items():
        times = run(command, options.runs)
        median = statistics.median(times)
        limit_text = "" if limit is None else str(limit)
        print(f"{name:<20}{median:>10.0f}{min(times):>8.0f}{max(times):>8.0f}{limit_text:>8}")
        figures.append({"name": name, "median_ms": median, "limit_ms": limit, "times_ms": times})
    for command in (["--help"], ["version"], ["inspect"]):
        found = modules(["-m", "zigai_cli", *command]) & {
            "pydantic",
            "numpy",
            "rich",
            "prompt_toolkit",
            "sqlite3",
        }
        print(f"zig-ai {' '.join(command)} imports {', '.join(sorted(found)) or 'none of the large modules'}")
    if options.json:
        options.json.write_text(json.dumps({"runs": options.runs, "figures": figures}, indent=1))
    late = [f["name"] for f in figures if f["limit_ms"] and f["median_ms"] > f["limit_ms"]]
    if options.check and late:
        print(f"over the limit: {', '.join(map(str, late))}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
