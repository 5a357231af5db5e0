"""Compute the logits of every case with the float32 oracle, Hugging Face transformers, and record them.

nox -s oracle            compares the recorded logits with the oracle's, and ZigAI's with both
nox -s oracle -- --write records them again
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from zigai_core.contracts.descriptor import ModelDescriptor

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from cases import CASES, GOLDENS, TOKENS, fingerprint  # noqa: E402
from toy_model import write_toy  # noqa: E402


def from_file(path: Path, tokens: Sequence[int]) -> np.ndarray:
    """Logits of a file that transformers reads itself: float32 `[tokens, vocabulary]`."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    )
    return run(model, tokens)


def run(network: Any, tokens: Sequence[int]) -> np.ndarray:
    with torch.no_grad():
        return network.eval()(torch.tensor([list(tokens)])).logits[0].float().numpy()


def answer(name: str) -> tuple[ModelDescriptor, np.ndarray]:
    """The model of a case, and the oracle's logits for it."""
    model = CASES[name]()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        write_toy(path, model)
        return model, from_file(path, TOKENS)


def stories() -> list[list[int]] | None:
    """The oracle's greedy tokens for the trained model in ../shared; None if that is absent."""
    folder = HERE.parents[1].parent / "shared" / "models"
    if not (folder / "stories260K.gguf").exists():
        return None
    model = transformers.AutoModelForCausalLM.from_pretrained(
        str(folder), gguf_file="stories260K.gguf", dtype=torch.float32, attn_implementation="eager"
    )
    cases = json.loads((folder / "stories260K.golden.json").read_text("utf-8"))["cases"]
    return [greedy(model.eval(), case["tokens"], len(case["greedy"])) for case in cases]


def greedy(model: Any, tokens: list[int], count: int) -> list[int]:
    sequence = list(tokens)
    for _ in range(count):
        sequence.append(int(run(model, sequence)[-1].argmax()))
    return sequence[len(tokens) :]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="record the answers")
    parser.add_argument("cases", nargs="*", help="cases to compute (all)")
    options = parser.parse_args()
    write = options.write
    worst = 0.0
    for name in options.cases or CASES:
        model, logits = answer(name)
        path = GOLDENS / f"{name}.npz"
        if write:
            np.savez_compressed(path, logits=logits, tokens=np.array(TOKENS), fingerprint=fingerprint(model))
        kept = np.load(path)
        if str(kept["fingerprint"]) != fingerprint(model):
            raise SystemExit(f"{name}: the case has changed since its golden was recorded: run with --write")
        difference = float(np.abs(kept["logits"] - logits).max())
        worst = max(worst, difference)
        print(f"{name:20} largest difference of the oracle from the golden: {difference:.1e}")
    tokens, path = None if options.cases else stories(), GOLDENS / "stories260K.json"
    if tokens is not None:
        if write:
            path.write_text(json.dumps(tokens) + "\n")
        if json.loads(path.read_text()) != tokens:
            worst = 1.0
        print(
            "stories260K          oracle's greedy tokens "
            + ("differ from" if worst == 1.0 else "equal")
            + " the golden's"
        )
    return 0 if worst <= 1e-5 else 1


if __name__ == "__main__":
    sys.exit(main())
