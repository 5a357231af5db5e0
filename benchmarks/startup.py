"""Time in which a new process imports zigai or shows `zig-ai --help`: medians of elapsed time.

usage: python benchmarks/startup.py [--runs N] [--json FILE] [--check]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def measure(command: Sequence[str], runs: int) -> list[float]:
    """Milliseconds of each of `runs` new processes, after one that fills the disk cache."""
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        times.append((time.perf_counter() - began) * 1000)
    return times[1:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--check", action="store_true", help="fail if a median is over its limit")
    options = parser.parse_args()

    script = shutil.which("zig-ai", path=str(Path(sys.executable).parent)) or "zig-ai"
    cases = {
        "python -c pass": ([sys.executable, "-c", "pass"], None),
        "import numpy": ([sys.executable, "-c", "import numpy"], None),
        "import zigai": ([sys.executable, "-c", "import zigai"], 200),
        "zig-ai --help": ([script, "--help"], 400),
    }
    figures: list[dict[str, Any]] = []
    print(f"{'new process':<16}{'median ms':>10}{'min':>8}{'max':>8}{'limit':>8}")
    for name, (command, limit) in cases.items():
        times = measure(command, options.runs)
        median = statistics.median(times)
        limit_text = "" if limit is None else str(limit)
        print(f"{name:<16}{median:>10.0f}{min(times):>8.0f}{max(times):>8.0f}{limit_text:>8}")
        figures.append({"name": name, "median_ms": median, "limit_ms": limit, "times_ms": times})
    if options.json:
        options.json.write_text(json.dumps({"runs": options.runs, "figures": figures}, indent=1))
    late = [f["name"] for f in figures if f["limit_ms"] and f["median_ms"] > f["limit_ms"]]
    if options.check and late:
        print(f"over the limit: {', '.join(map(str, late))}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
