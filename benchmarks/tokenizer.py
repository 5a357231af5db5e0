"""Time to build a byte-level BPE of Qwen2's size, and to encode 1 MB, compared with the tokenizers library.

Building is timed in new processes, opening the file included. Encoding is timed in alternation with the
library's own `encode` with the same vocabulary; the result is a ratio of medians. Without a file, a random
vocabulary of the same size is used: 151,643 tokens with 151,387 merges.

    python benchmarks/tokenizer.py [FILE.gguf] [--runs N] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as LibraryTokenizer

from zigai_gguf import GGUFFormat, write_gguf
from zigai_tokenizers.byte_alphabet import CHARACTERS
from zigai_tokenizers.byte_level_bpe import ByteLevelBPETokenizer

SIZE = 151_643
BUILD_LIMIT, ENCODE_LIMIT = 0.6, 1.2
CHILD = """
import sys, time
from pathlib import Path
from zigai_gguf import GGUFFormat
from zigai_tokenizers.byte_level_bpe import ByteLevelBPETokenizer
start = time.perf_counter()
spec = GGUFFormat().read(Path(sys.argv[1])).tokenizer
opened = time.perf_counter()
built = ByteLevelBPETokenizer(spec)  # kept, so that freeing it is not timed
print(opened - start, time.perf_counter() - opened)
"""


def make(path: Path) -> None:
    """Write a vocabulary whose tokens are the 256 bytes and merges of two tokens, preferably short ones."""
    rng = random.Random(7)
    tokens = list(CHARACTERS)
    known = set(tokens)
    merges: list[str] = []
    while len(tokens) < SIZE:
        left, right = (tokens[int(len(tokens) * rng.random() ** 3)] for _ in range(2))
        if len(left + right) <= 16 and left + right not in known:
            known.add(left + right)
            tokens.append(left + right)
            merges.append(f"{left} {right}")
    metadata: dict[str, Any] = {
        "general.architecture": "qwen2",
        "general.name": "benchmark",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": np.ones(SIZE, np.int32),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.eos_token_id": 0,
    }
    write_gguf(path, metadata, {})


def sample() -> str:
    """A million characters of prose and code, from this repository."""
    root = Path(__file__).resolve().parents[1]
    text = "".join(
        path.read_text(encoding="utf-8")
        for pattern in ("**/*.md", "packages/*/src/**/*.py")
        for path in sorted(root.glob(pattern))
    )
    return (text * (1_000_000 // len(text) + 1))[:1_000_000]


def build(path: Path, runs: int) -> dict[str, float]:
    """Medians over new processes, in seconds."""
    times = []
    for _ in range(runs):
        done = subprocess.run([sys.executable, "-c", CHILD, str(path)], check=True, capture_output=True)
        times.append([float(part) for part in done.stdout.split()])
    opened, built = (statistics.median(column) for column in zip(*times, strict=True))
    return {"open_s": opened, "build_s": built, "in_all_s": statistics.median(map(sum, times))}


def encode(path: Path, runs: int) -> dict[str, float]:
    """Medians in seconds for a million characters, and their ratio."""
    spec = GGUFFormat().read(path).tokenizer
    assert spec is not None
    ours = ByteLevelBPETokenizer(spec)
    library: LibraryTokenizer = ours._tokenizer
    text = sample()
    assert ours.encode(text, bos=False) == library.encode(text, add_special_tokens=False).ids
    times: dict[str, list[float]] = {"ours_s": [], "library_s": []}
    for _ in range(runs):
        start = time.perf_counter()
        ours.encode(text, bos=False)
        between = time.perf_counter()
        _ = library.encode(text, add_special_tokens=False).ids
        times["ours_s"].append(between - start)
        times["library_s"].append(time.perf_counter() - between)
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {**medians, "ratio": medians["ours_s"] / medians["library_s"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, help="a GGUF file with a byte-level BPE")
    parser.add_argument("--runs", type=int, default=7, help="measurements of each (7)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.file
        if path is None:
            path = Path(folder) / "vocabulary.gguf"
            make(path)
        figures = {**build(path, arguments.runs), **encode(path, arguments.runs)}
    opened, built, both = (figures[name] for name in ("open_s", "build_s", "in_all_s"))
    print(f"open {opened:.3f} s, build {built:.3f} s, both {both:.3f} s")
    print(
        f"a million characters: {figures['ours_s']:.3f} s, the library alone {figures['library_s']:.3f} s, "
        f"ratio {figures['ratio']:.2f}"
    )
    passed = figures["build_s"] < BUILD_LIMIT and figures["ratio"] < ENCODE_LIMIT
    print(f"limits: build {BUILD_LIMIT} s, ratio {ENCODE_LIMIT}: {'ok' if passed else 'TOO SLOW'}")
    if arguments.json:
        arguments.json.write_text(json.dumps({**figures, "passed": passed}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
