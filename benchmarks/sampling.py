"""Time to sample a token from a row of logits, with the native `best` and with numpy's.

Each time is the median over repeated calls on one row, as CPU time of this thread (`thread`) and as elapsed
time (`wall`). If other processes share the CPU, the first is the cost of sampling.

    python benchmarks/sampling.py [--vocabulary N] [--runs N] [--check] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.best import Best, Edits, best
from zigai_core.contracts.options import SamplingOptions
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.sampling.row import BestOf
from zigai_kernels.best import best as native_best
from zigai_kernels.dispatch import choose, load

NO_TOP_K = SamplingOptions(top_k=0, seed=1)
CHAINS = {
    "default": SamplingOptions(seed=1),
    "default, penalties": SamplingOptions(seed=1, repeat_penalty=1.1, presence_penalty=0.5),
    "greedy": SamplingOptions.greedy(),
    "no top-k": NO_TOP_K,
    "no top-k, typical": replace(NO_TOP_K, typical_p=0.9),
    "temperature alone": replace(NO_TOP_K, top_p=1.0, min_p=0.0),
    "mirostat 2": SamplingOptions(seed=1, mirostat=2),
}
LIMITS = {"default": 0.2, "no top-k": 5.0}
"""Largest thread time in milliseconds to sample a token with the native `best`, on any of the rows."""


def rows(count: int) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    peaked = rng.normal(0, 3, count).astype(np.float32)
    peaked[count // 3] = 25
    return {
        "peaked": peaked,
        "normal": rng.normal(0, 3, count).astype(np.float32),
        "flat": rng.normal(0, 0.01, count).astype(np.float32),
        "equal": np.zeros(count, np.float32),
    }


def native() -> BestOf:
    module = load(choose())

    def best(row: NDArray[np.float32], k: int, edits: Edits | None, mask: NDArray[np.uint32] | None) -> Best:
        return native_best(module.ffi, module.lib, row, k, edits, mask)

    return best


def measure(options: SamplingOptions, row: NDArray[np.float32], find: BestOf, runs: int) -> dict[str, float]:
    """Medians in milliseconds."""
    sampler = Sampler(options, best=find)
    sampler.start(range(200))
    sampler.sample(row)
    thread, wall = [], []
    for _ in range(runs):
        began, clock = time.thread_time(), time.perf_counter()
        sampler.sample(row)
        thread.append(time.thread_time() - began)
        wall.append(time.perf_counter() - clock)
    return {"thread_ms": 1e3 * statistics.median(thread), "wall_ms": 1e3 * statistics.median(wall)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocabulary", type=int, default=152_000, help="logits in a row (152000)")
    parser.add_argument("--runs", type=int, default=41, help="calls per median (41)")
    parser.add_argument("--check", action="store_true", help="fail if a limit is exceeded")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    figures = []
    exceeded = []
    print(f"{arguments.vocabulary} logits, {choose()}; ms per token: thread (wall)")
    print(f"{'chain':20} {'best':7}" + "".join(f"{name:>18}" for name in rows(1)))
    for chain, options in CHAINS.items():
        for name, find in (("native", native()), ("numpy", best)):
            line = f"{chain:20} {name:7}"
            for kind, row in rows(arguments.vocabulary).items():
                took = measure(options, row, find, arguments.runs)
                figures.append({"chain": chain, "best": name, "row": kind, **took})
                line += f"{took['thread_ms']:9.3f} ({took['wall_ms']:6.3f})"
                if name == "native" and took["thread_ms"] > LIMITS.get(chain, np.inf):
                    exceeded.append(f"{chain}, {kind}: {took['thread_ms']:.3f} ms")
            print(line)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    for each in exceeded:
        print(f"over the limit: {each}")
    return 1 if arguments.check and exceeded else 0


if __name__ == "__main__":
    raise SystemExit(main())
