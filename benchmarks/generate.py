"""Prefill and decode speed of a model in tokens/s, and the process's peak resident memory.

Without --model it uses a toy with 22 million random weights in Q8_0.

usage: python benchmarks/generate.py [--model PATH] [--backend NAME] [--threads N] [--prompt TOKENS]
       [--tokens N] [--runs N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import zigai
from zigai_core.engine.direct import DirectRunner, Part


def peak_resident() -> int:
    """Peak resident memory of this process in bytes, mapped pages of the file included."""
    memory = psutil.Process().memory_info()
    peak = getattr(memory, "peak_wset", None)  # Windows
    if peak is not None:
        return int(peak)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def run_once(model: zigai.Model, prompt: list[int], count: int) -> tuple[float, float]:
    """Tokens per second of one prefill of `prompt` and of `count` greedy decode steps after it."""
    runner = DirectRunner(model.program)
    sequence = runner.new_sequence()
    began = time.perf_counter()
    logits = runner.run([Part(sequence, prompt)])[0]["logits"]
    prefilled = time.perf_counter()
    for _ in range(count):
        logits = runner.run([Part(sequence, [int(np.argmax(logits))])])[0]["logits"]
    decoded = time.perf_counter()
    return len(prompt) / (prefilled - began), count / (decoded - prefilled)


def make_toy(path: Path) -> Path:
    """Write a model with random weights."""
    script = Path(__file__).resolve().parents[1] / "integration-tests" / "toy_model.py"
    sizes = ["--width", "512", "--layers", "8", "--type", "Q8_0"]
    subprocess.run([sys.executable, str(script), str(path), *sizes], check=True)
    return path


def measure(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one model; speeds are medians over the runs."""
    began = time.perf_counter()
    context = options.prompt + options.tokens + 1
    model = zigai.load(path, backend=options.backend, threads=options.threads, context=context)
    loaded = time.perf_counter() - began
    rng = np.random.default_rng(7)
    prompt = rng.integers(0, model.graph.token_limit, options.prompt).tolist()
    speeds = [run_once(model, prompt, options.tokens) for _ in range(options.runs)]
    return {
        "model": path.name,
        "backend": model.program.report().summary,
        "runs": options.runs,
        "load_seconds": loaded,
        "prefill_tps": statistics.median(prefill for prefill, _ in speeds),
        "decode_tps": statistics.median(decode for _, decode in speeds),
        "file_bytes": path.stat().st_size,
        "peak_resident_bytes": peak_resident(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--prompt", type=int, default=128, help="tokens of the prompt")
    parser.add_argument("--tokens", type=int, default=64, help="tokens to generate")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()

    if options.model:
        figures = measure(options.model, options)
    else:
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(make_toy(Path(folder) / "toy.gguf"), options)
    for name, value in figures.items():
        print(f"{name:<20}{value:>16,.2f}" if isinstance(value, float) else f"{name:<20}{value:>16}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
