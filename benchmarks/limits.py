"""Limits of this machine: bytes read from memory per second, and multiply-adds of int8 and float32.

Reading is one sequential stream per thread over more memory than the caches hold. int8 multiply-adds are the
densest sequence of instructions that is exact for int8, on operands in the first-level cache: vpdpbusd if the
CPU has it, vpmaddubsw and vpaddw with AVX2, otherwise a plain loop. limits.c is compiled at run time.

usage: python benchmarks/limits.py [--threads 1,2] [--passes N] [--json FILE]
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cffi import FFI

DECLARATIONS = """
const char *limits_int8_name(void);
int limits_step(int kind);
int limits_run(int kind, int threads, int passes, int64_t amount, const char *data, double *seconds);
"""
READ, INT8, F32 = range(3)
STREAM = 192 << 20
"""Bytes that each thread reads in a pass: several times the cache per core of large CPUs."""
PASS_SECONDS = 0.05
"""Approximate duration of a pass of arithmetic."""


@dataclass(frozen=True)
class Rate:
    """A rate per second: of the median pass and of the best one."""

    median: float
    best: float


@dataclass(frozen=True)
class Limits:
    """Rates of `threads` threads together: bytes read, and multiply-adds."""

    threads: int
    read: Rate
    int8: Rate
    f32: Rate
    int8_sequence: str
    """The instructions with which int8 multiply-adds were measured."""


@functools.cache
def library() -> tuple[FFI, Any]:
    """`limits.c`, compiled for this CPU. Raises `RuntimeError`, with the compiler's output, if that fails."""
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("gcc", "cc", "clang")), None)
    if compiler is None:
        raise RuntimeError("no C compiler found (gcc, cc, clang): install one to measure the limits")
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "limits.so"
        source = Path(__file__).with_name("limits.c")
        flags = ["-std=gnu11", "-O3", "-march=native", "-shared", "-fPIC", "-pthread"]
        command = [*compiler.split(), *flags, str(source), "-o", str(built)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            raise RuntimeError(f"{' '.join(command)}: {made.stderr.strip()}")
        ffi = FFI()
        ffi.cdef(DECLARATIONS)
        return ffi, ffi.dlopen(str(built))


def measure(threads: int, passes: int = 15) -> Limits:
    """Measure the limits of `threads` threads: medians and bests of `passes` passes after a warm-up.

    Raises `ValueError` for a number of threads outside 1..256, `RuntimeError` if limits.c cannot be compiled.
    """
    if not 1 <= threads <= 256:
        raise ValueError(f"{threads} threads: 1 to 256 can be measured")
    ffi, compiled = library()
    data = np.ones(threads * STREAM, dtype=np.uint8)

    def seconds(kind: int, amount: int, passes: int) -> list[float]:
        out = ffi.new("double[]", passes)
        if compiled.limits_run(kind, threads, passes, amount, ffi.cast("char *", data.ctypes.data), out):
            raise RuntimeError(f"{threads} threads cannot be started")
        return list(out)

    def rate(kind: int) -> Rate:
        if kind == READ:
            amount, unit = STREAM, STREAM
        else:
            unit = compiled.limits_step(kind)
            amount = trial = 1 << 16
            amount = max(trial, int(trial * PASS_SECONDS / min(seconds(kind, trial, 5))))
            unit *= amount
        times = seconds(kind, amount, passes + 1)[1:]
        return Rate(threads * unit / statistics.median(times), threads * unit / min(times))

    name = ffi.string(compiled.limits_int8_name())
    return Limits(
        threads=threads,
        read=rate(READ),
        int8=rate(INT8),
        f32=rate(F32),
        int8_sequence=name if isinstance(name, str) else name.decode(),
    )


def table(measured: Sequence[Limits]) -> str:
    """The figures as a Markdown table: medians, and bests in brackets."""
    rows = [
        ("read, GB/s", [limits.read for limits in measured]),
        (f"int8 multiply-adds, G/s ({measured[0].int8_sequence})", [limits.int8 for limits in measured]),
        ("float32 multiply-adds, G/s", [limits.f32 for limits in measured]),
    ]
    heads = [f"{limits.threads} thread{'s' if limits.threads > 1 else ''}" for limits in measured]
    lines = ["| median (best) | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, rates in rows:
        cells = [f"{rate.median / 1e9:.1f} ({rate.best / 1e9:.1f})" for rate in rates]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def counts(text: str) -> list[int]:
    """Parse a list such as `1,2` of whole numbers of at least 0. Raises `ValueError`, for argparse."""
    numbers = [int(part) for part in text.split(",") if part]
    if any(number < 0 for number in numbers):
        raise ValueError(text)
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    usual = sorted({1, os.cpu_count() or 1})
    parser.add_argument("--threads", type=counts, default=usual, help="such as 1,2 (1 and all)")
    parser.add_argument("--passes", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    measured = [measure(threads, options.passes) for threads in options.threads]
    print(table(measured))
    if options.json:
        options.json.write_text(json.dumps([asdict(limits) for limits in measured], indent=1))


if __name__ == "__main__":
    main()
