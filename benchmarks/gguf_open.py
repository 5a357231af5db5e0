"""Time in which GGUFFormat opens a file of 4 GB of tensors with a vocabulary of 32,000 or 152,000 tokens.

Each time is measured in a new process, from the call of `read` to the descriptor with its TokenizerSpec; the
import is timed separately. The tensors are a hole in the file, since opening must not read them.

    python benchmarks/gguf_open.py [--runs N] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from zigai_core.contracts.dtypes import DTYPES
from zigai_gguf.tensor_data import TensorData
from zigai_gguf.writer import plan

SIZE = 4 << 30
CASES = {
    "32,000 tokens with scores": (32_000, 0, 0.3),
    "152,000 tokens, 151,000 merges": (152_000, 151_000, 0.6),
}
"""Tokens, merges, and the limit in seconds."""

CHILD = """
import json, resource, sys, time
from pathlib import Path
start = time.perf_counter()
from zigai_gguf import GGUFFormat
imported = time.perf_counter()
model = GGUFFormat().read(Path(sys.argv[1]))
opened = time.perf_counter()
assert model.nbytes > 4e9 and len(model.tokenizer.tokens) == int(sys.argv[2])
list(model.tokenizer.tokens), list(model.tokenizer.merges or ())
decoded = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"import_s": imported - start, "open_s": opened - imported, "decode_s": decoded - opened,
                  "peak_rss_mib": peak}))
"""


def make(path: Path, tokens: int, merges: int) -> None:
    """Write a file of a little over 4 GB with Llama's tensors: 32 layers of nine, most of them Q4_K."""
    rng = random.Random(7)
    letters = "abcdefghijklmnopqrstuvwxyzéßĠ語"
    words = ["".join(rng.choices(letters, k=rng.randint(1, 12))) for _ in range(max(tokens, merges))]
    kind = "gpt2" if merges else "llama"
    metadata: dict[str, Any] = {
        "general.architecture": "llama",
        "general.name": "benchmark",
        "llama.block_count": 32,
        "llama.context_length": 4096,
        "llama.embedding_length": 4096,
        "llama.attention.head_count": 32,
        "tokenizer.ggml.model": kind,
        "tokenizer.ggml.tokens": words[: tokens - 256] + [f"<|special_{i}|>" for i in range(256)],
        "tokenizer.ggml.token_type": np.array([1] * (tokens - 256) + [3] * 256, np.int32),
        "tokenizer.ggml.bos_token_id": tokens - 2,
        "tokenizer.ggml.eos_token_id": tokens - 1,
    }
    if merges:
        metadata["tokenizer.ggml.merges"] = [f"{word[:3]} {word[3:]}" for word in words[:merges]]
    else:
        metadata["tokenizer.ggml.scores"] = -np.arange(tokens, dtype=np.float32)
    tensors = {f"{name}.weight": hole((tokens, 4096), "Q6_K") for name in ("token_embd", "output")}
    for layer in range(32):
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{layer}.{name}.weight"] = hole((4096,), "F32")
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors[f"blk.{layer}.{name}.weight"] = hole((4096, 4096), "Q4_K")
        for name in ("ffn_gate", "ffn_up"):
            tensors[f"blk.{layer}.{name}.weight"] = hole((11008, 4096), "Q4_K")
        tensors[f"blk.{layer}.ffn_down.weight"] = hole((4096, 11008), "Q4_K")
    layout = plan(metadata, tensors)
    rest = max(0, SIZE - layout.size) // 34 // 4096
    if rest:
        tensors["rest.weight"] = hole((rest + 1, 4096 * 32), "Q8_0")
        layout = plan(metadata, tensors)
    with path.open("wb") as file:
        file.write(layout.header)
        file.truncate(layout.size)


def hole(shape: tuple[int, ...], dtype: str) -> TensorData:
    return TensorData(shape, DTYPES[dtype], tuple)


def measure(path: Path, tokens: int, runs: int) -> dict[str, float]:
    """Medians over `runs` processes."""
    command = [sys.executable, "-c", CHILD, str(path), str(tokens)]
    results = [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(runs)
    ]
    return {key: statistics.median(result[key] for result in results) for key in results[0]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="processes per file (7)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    figures: list[dict[str, Any]] = []
    print(f"{'file':<32}{'size':>9}{'import':>9}{'open':>9}{'limit':>8}{'decode':>9}{'peak':>10}")
    with tempfile.TemporaryDirectory() as folder:
        for name, (tokens, merges, limit) in CASES.items():
            path = Path(folder) / "model.gguf"
            make(path, tokens, merges)
            result = measure(path, tokens, arguments.runs)
            passed = result["open_s"] < limit
            size = path.stat().st_size
            figures.append({"file": name, "size": size, "limit_s": limit, "passed": passed, **result})
            print(
                f"{name:<32}{size / 1e9:>6.2f} GB{result['import_s']:>8.3f}s{result['open_s']:>8.3f}s"
                f"{limit:>7.1f}s{result['decode_s']:>8.3f}s{result['peak_rss_mib']:>6.0f} MiB  "
                f"{'ok' if passed else 'TOO SLOW'}"
            )
    if arguments.json:
        machine = {"python": platform.python_version(), "machine": platform.machine(), "runs": arguments.runs}
        arguments.json.write_text(json.dumps({**machine, "figures": figures}, indent=2) + "\n")
    return 0 if all(figure["passed"] for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
