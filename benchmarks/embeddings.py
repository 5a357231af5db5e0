"""Texts embedded per second, and the embeddings, beside sentence-transformers on the same folder.

Both embed the same sentences with the same number of threads, in alternation, each in a process of its own.
The folder is one of sentence-transformers, with modules.json and an encoder that both can read.

usage: python benchmarks/embeddings.py FOLDER --peer PYTHON [--texts N] [--rounds N] [--threads N]
       [--model FILE] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import zigai
from comparison.passages import STORY

PEER = Path(__file__).resolve().with_name("embeddings_peer.py")
SHORTEST, LONGEST = 5, 30
"""Words of a sentence."""


def sentences(count: int) -> list[str]:
    """Pieces of the story, of `SHORTEST` to `LONGEST` words, always the same ones."""
    words, chance = STORY.read_text(encoding="utf-8").split(), random.Random(0)
    lengths = [chance.randint(SHORTEST, LONGEST) for _ in range(count)]
    starts = [chance.randrange(len(words) - length) for length in lengths]
    return [" ".join(words[start : start + length]) for start, length in zip(starts, lengths, strict=True)]


class Peer:
    """sentence-transformers in a process. Raises `SystemExit` with its last line of output if it fails."""

    def __init__(self, python: str, folder: Path, texts: list[str], threads: int, at: Path) -> None:
        given, made = at / "texts.json", at / "embeddings.npy"
        given.write_text(json.dumps(texts), encoding="utf-8")
        self._errors = (at / "errors").open("w+", encoding="utf-8")
        command = [python, str(PEER), str(folder), str(given), str(made), "--threads", str(threads)]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
            )
        except OSError as error:
            raise SystemExit(f"--peer {python}: {error}") from None
        self._answer()
        self.embeddings: NDArray[np.float32] = np.load(made)

    def seconds(self) -> float:
        """The time that embedding all texts takes once."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            last = (self._errors.read().strip() or "failed").splitlines()[-1]
            raise SystemExit(f"sentence-transformers: {last}")
        return line


def cosines(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float64]:
    """The cosine of each row with the same row of the other."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    found: NDArray[np.float64] = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The figures: medians of the rounds, in texts per second."""
    texts = sentences(options.texts)
    path = options.model or options.folder
    model = zigai.load(path, threads=options.threads)
    embeddings = model.embed(texts)  # and warm up
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(options.peer, options.folder, texts, options.threads, Path(folder))
        ours, theirs = [], []
        try:
            for _ in range(options.rounds):
                began = time.perf_counter()
                model.embed(texts)
                ours.append(time.perf_counter() - began)
                theirs.append(peer.seconds())
        finally:
            peer.close()
    least = float(cosines(embeddings, peer.embeddings).min())
    return {
        "model": path.name,
        "texts": len(texts),
        "tokens": sum(len(model.tokenizer.encode(text)) for text in texts),
        "threads": options.threads,
        "texts_per_second": len(texts) / statistics.median(ours),
        "peer_texts_per_second": len(texts) / statistics.median(theirs),
        "ratio": statistics.median(theirs) / statistics.median(ours),
        "ratios": [their / our for our, their in zip(ours, theirs, strict=True)],
        "least_cosine": least,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="a folder of sentence-transformers")
    parser.add_argument("--peer", metavar="PYTHON", required=True, help="a python with sentence-transformers")
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--model", type=Path, help="what ZigAI loads, such as a GGUF file made of the folder")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    figures = measure(options)
    least, most = min(figures["ratios"]), max(figures["ratios"])
    print(f"{figures['model']}: {figures['texts']:,} texts, threads: {figures['threads']}")
    print(f"ZigAI                  {figures['texts_per_second']:8.1f} texts/s")
    print(f"sentence-transformers  {figures['peer_texts_per_second']:8.1f} texts/s")
    print(f"ratio of the medians   {figures['ratio']:8.2f}, of single rounds {least:.2f} to {most:.2f}")
    print(f"least cosine           {figures['least_cosine']:.8f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
