"""Compares the decode speed of a graph from an external plugin with that of the same graph from zigai-llama.

The example plugin and zigai-llama build the same graph over the same weights. Both run on the native backend,
in alternation, so that other load on the machine affects both equally.

usage: python benchmarks/plugin_speed.py [--rounds N] [--tokens N] [--json FILE] [--check]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import zigai
from zigai_core.contracts.plugins import Architecture
from zigai_core.engine.direct import DirectRunner, Part

TESTS = Path(__file__).resolve().parents[1] / "integration-tests"
LIMIT = 0.03
"""Largest deviation of the ratio of the two medians from 1."""


def load_example() -> Architecture:
    """The architecture of the example plugin, from its source: it need not be installed."""
    source = TESTS / "example-plugin" / "src" / "zigai_example" / "__init__.py"
    spec = importlib.util.spec_from_file_location("zigai_example", source)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    example: Architecture = module.example
    return example


def decode_speed(model: zigai.Model, count: int) -> float:
    """Tokens per second of `count` greedy steps after a short prompt."""
    runner = DirectRunner(model.program)
    sequence = runner.new_sequence()
    logits = runner.run([Part(sequence, [1, 300, 301])])[0]["logits"]
    began = time.perf_counter()
    for _ in range(count):
        logits = runner.run([Part(sequence, [int(np.argmax(logits))])])[0]["logits"]
    return count / (time.perf_counter() - began)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--backend", default="native")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument(
        "--check", action="store_true", help=f"fail if the ratio is not within {LIMIT:.0%} of 1"
    )
    options = parser.parse_args()

    plugins = zigai.Plugins.installed().extended(architectures={"example": load_example()})
    with tempfile.TemporaryDirectory() as folder:
        models = {}
        for architecture in ("llama", "example"):
            path = Path(folder) / f"{architecture}.gguf"
            sizes = ["--width", "512", "--layers", "8", "--type", "Q8_0"]
            command = [sys.executable, str(TESTS / "toy_model.py"), str(path), "--architecture", architecture]
            subprocess.run([*command, *sizes], check=True)
            models[architecture] = zigai.load(
                path, backend=options.backend, threads=options.threads, plugins=plugins
            )
        speeds: dict[str, list[float]] = {architecture: [] for architecture in models}
        for turn in range(options.rounds + 1):
            order = list(models) if turn % 2 else list(models)[::-1]
            for architecture in order:
                speed = decode_speed(models[architecture], options.tokens)
                if turn:  # the first round is a warm-up
                    speeds[architecture].append(speed)
        del models

    medians = {architecture: statistics.median(values) for architecture, values in speeds.items()}
    ratio = medians["example"] / medians["llama"]
    print(f"{'architecture':<14}{'median tokens/s':>16}{'min':>10}{'max':>10}")
    for architecture, values in speeds.items():
        print(f"{architecture:<14}{medians[architecture]:>16.1f}{min(values):>10.1f}{max(values):>10.1f}")
    print(f"ratio {ratio:.4f}, limit 1 ± {LIMIT}")
    figures = {"backend": options.backend, "medians_tps": medians, "ratio": ratio, "speeds_tps": speeds}
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    return int(options.check and abs(ratio - 1) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
