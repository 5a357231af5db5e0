"""Deviation of the native backend's next-token distributions from float32, compared with llama.cpp's.

The oracle is the numpy backend in float32 over the dequantised weights of the same file, which agrees with
Hugging Face transformers. The figures are the mean KL divergence from it and the perplexity on fixed text,
each with its standard error. llama.cpp runs with its weights repacked and as stored, and the setting with the
smaller divergence counts.

usage: python benchmarks/accuracy.py [MODEL...] [--peer PYTHON] [--text FILE] [--tokens N] [--dialogues N]
       [--threads N] [--json FILE] [--document PAGE] [--check]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import zigai
from comparison.document import replace_part
from comparison.judgement import Judged
from comparison.passages import REFERENCE, STORY, Passage, passages
from comparison.systems import PEER, peers
from zigai_core.testing.divergence import Logits, Mean

ROOT = Path(__file__).resolve().parents[1]
USUAL = [
    *sorted((ROOT / "packages" / "zigai" / "src" / "zigai" / "models").glob("*.gguf")),
    *sorted(REFERENCE.glob("*.gguf")),
]
"""The models of this repository."""
SETTINGS: Mapping[str, Sequence[str]] = {"repacked": (), "as stored": ("--no-repack",)}


def peer_logits(
    python: str, path: Path, texts: Sequence[Passage], threads: int, setting: str
) -> list[Logits]:
    """llama.cpp's logits for each passage. Raises `SystemExit` with its last line of output if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        tokens, out = Path(folder) / "tokens.json", Path(folder) / "logits.npy"
        tokens.write_text(json.dumps([text.tokens for text in texts]))
        command = [python, str(PEER), "logits", str(path), str(tokens), str(out), "--threads", str(threads)]
        done = subprocess.run([*command, *SETTINGS[setting]], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"llama.cpp: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
        rows = np.load(out)
    return np.split(rows, np.cumsum([len(text.tokens) for text in texts])[:-1])


def judge(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one file."""
    settings: dict[str, Any] = {"threads": options.threads, "context": None}
    native = zigai.load(path, backend="native", **settings)
    texts = passages(native, text=options.text, length=options.tokens, dialogues=options.dialogues)
    exact = zigai.load(path, backend="numpy", **settings)
    oracle: list[Logits] = [exact.logits(text.tokens) for text in texts]
    truth = Judged.of(texts, oracle, oracle)
    ours = Judged.of(texts, oracle, [native.logits(text.tokens) for text in texts])
    figures: dict[str, Any] = {
        "model": path.name,
        "tokens": sum(len(text.tokens) for text in texts),
        "passages": len(texts),
        "summary": native.program.report().summary,
        "oracle_perplexity": asdict(truth.perplexity),
        "kl": asdict(ours.kl),
        "perplexity": asdict(ours.perplexity),
    }
    if options.peer:
        judged = {}
        for setting in SETTINGS:
            logits = peer_logits(options.peer, path, texts, options.threads, setting)
            judged[setting] = Judged.of(texts, oracle, logits)
        setting = min(judged, key=lambda name: judged[name].kl.value)
        peer = judged[setting]
        figures |= {
            "peer_setting": setting,
            "peer_kl": asdict(peer.kl),
            "peer_perplexity": asdict(peer.perplexity),
            "no_worse": ours.no_worse_than(peer),
        }
    return figures


def markdown(judged: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table with a row per file."""
    heads = [
        *("file", "tokens", "perplexity: float32", "ZigAI", "llama.cpp"),
        *("KL from float32: ZigAI", "llama.cpp", "setting", "no worse"),
    ]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in judged:
        means = {name: Mean(**row[name]) for name in row if name.endswith(("kl", "perplexity"))}
        peer = [_mean(means.get("peer_perplexity"), "{:.4f}"), _mean(means.get("peer_kl"), "{:.2e}")]
        cells = [
            row["model"],
            f"{row['tokens']:,}",
            _mean(means["oracle_perplexity"], "{:.4f}"),
            _mean(means["perplexity"], "{:.4f}"),
            peer[0],
            _mean(means["kl"], "{:.2e}"),
            peer[1],
            row.get("peer_setting", ""),
            {True: "yes", False: "no", None: ""}[row.get("no_worse")],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(mean: Mean | None, form: str) -> str:
    return "" if mean is None else f"{form.format(mean.value)} ± {form.format(mean.error)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", nargs="*", type=Path, help="GGUF files (those of this repository)")
    parser.add_argument("--peer", metavar="PYTHON", help="the python of an environment with llama-cpp-python")
    parser.add_argument("--text", type=Path, default=STORY, help="text for models without recorded dialogues")
    parser.add_argument("--tokens", type=int, default=256, help="tokens per passage of the text")
    parser.add_argument("--dialogues", type=int, default=504)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--document", type=Path, metavar="PAGE", help="replace the table in this page")
    parser.add_argument("--check", action="store_true", help="fail if a file's figures are worse")
    options = parser.parse_args()
    if options.peer:
        peers(options.peer)
    judged = []
    for path in options.model or USUAL:
        print(path.name, file=sys.stderr, flush=True)
        judged.append(judge(path, options))
    text = markdown(judged)
    print(text)
    if options.json:
        options.json.write_text(json.dumps(judged, indent=1) + "\n")
    if options.document:
        replace_part(options.document, "accuracy", text)
    return int(options.check and any(row.get("no_worse") is False for row in judged))


if __name__ == "__main__":
    sys.exit(main())
