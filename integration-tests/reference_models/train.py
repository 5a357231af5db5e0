"""Trains a reference model: `python train.py qwen2 --out FOLDER` takes at most 40 minutes on two CPU cores.

Writes a folder in the format of Hugging Face transformers, which `export.py` converts to GGUF files.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from dialogues import Maker
from network import SHAPES, Decoder, to_transformers
from optimiser import MuonAdamW, revise, schedule
from torch import Tensor
from torch.nn import functional as F
from vocabularies import VOCABULARIES, lay_out

SEED = 1
RATE, MATRIX_RATE = 3e-3, 0.02
TOKENS = 8_600_000
"""Number of training tokens, without padding."""
REVISED = ("llama",)
"""Families with a second phase of training, on sums: numbers in digits or syllables are learnt late."""
REVISION, SUMS = 9 / 86, 4.0
"""Length of the second phase as a fraction of the first, and its factor on the weights of sums."""


def batches(
    vocabulary: Any, *, tokens: int, seed: int, sums: float = 1.0
) -> Iterator[tuple[float, list[tuple[list[int], list[int]]]]]:
    """Batches of rows of similar length, each with the fraction of training that is done before it.

    A row holds one dialogue: with several, facts of one user would leak into answers for the next.
    """
    source, rng, seen = Maker(seed, sums).train(), random.Random(seed), 0
    while seen < tokens:
        rows = sorted(
            (lay_out(vocabulary.write(next(source))) for _ in range(2048)), key=lambda row: len(row[0])
        )
        groups: list[list[tuple[list[int], list[int]]]] = [[]]
        size = 3072 if seen < 0.45 * tokens else 4096
        for row in rows:
            if len(row[0]) * (len(groups[-1]) + 1) > size:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        for group in groups:
            if group and seen < tokens:
                yield seen / tokens, group
                seen += sum(len(ids) for ids, _ in group)


def fill(
    group: list[tuple[list[int], list[int]]], padding: int, device: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Padded ids `[rows, tokens]`, the indices into `[rows · tokens]` that have a target, and the targets."""
    longest = max(len(ids) for ids, _ in group)
    ids = torch.tensor([ids + [padding] * (longest - len(ids)) for ids, _ in group])
    targets = torch.tensor([targets + [-1] * (longest - len(targets)) for _, targets in group]).reshape(-1)
    chosen = (targets >= 0).nonzero().reshape(-1)
    return ids.to(device), chosen.to(device), targets[chosen].to(device)


def learn(
    decoder: Decoder,
    rows: Iterator[tuple[float, list[tuple[list[int], list[int]]]]],
    share_of_rate: Callable[[float, int], float],
    *,
    padding: int,
    device: str,
    log: Callable[[str], None],
) -> None:
    """Train on all rows. The same rows on the same machine give the same weights."""
    optimiser = MuonAdamW(decoder, rate=RATE, matrix_rate=MATRIX_RATE)
    begun = logged = time.monotonic()
    losses: list[Tensor] = []
    seen = 0
    for step, (done, group) in enumerate(rows):
        ids, chosen, targets = fill(group, padding, device)
        loss = F.cross_entropy(decoder(ids, chosen), targets)
        loss.backward()
        optimiser.step(share_of_rate(done, step))
        losses.append(loss.detach())
        seen += sum(len(row) for row, _ in group)
        now = time.monotonic()
        if now - logged > 30:
            logged = now
            mean = torch.stack(losses).mean().item()
            log(
                f"{(now - begun) / 60:5.1f} min, {done:4.0%}, step {step}, loss {mean:.4f}, "
                f"{seen / (now - begun):,.0f} tokens/s"
            )
            losses = []
    log(f"trained in {(time.monotonic() - begun) / 60:.1f} minutes")


def train(family: str, vocabulary: Any, *, tokens: int, device: str, log: Callable[[str], None]) -> Decoder:
    """Train a model from the fixed seed; families in `REVISED` get the second phase, at a lower rate."""
    torch.manual_seed(SEED)
    decoder = Decoder(SHAPES[family]).to(device)
    rows = batches(vocabulary, tokens=tokens, seed=SEED)
    learn(decoder, rows, schedule, padding=vocabulary.padding, device=device, log=log)
    if family in REVISED:
        again = batches(vocabulary, tokens=round(REVISION * tokens), seed=SEED + 1, sums=SUMS)
        learn(decoder, again, revise, padding=vocabulary.padding, device=device, log=log)
    return decoder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("family", choices=sorted(SHAPES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "training.log").open("w", encoding="utf-8") as record:

        def log(line: str) -> None:
            print(line, flush=True)
            record.write(line + "\n")

        vocabulary = VOCABULARIES[options.family].train(options.out)
        tokens = options.tokens
        decoder = train(options.family, vocabulary, tokens=tokens, device=options.device, log=log)
        log(f"{time.process_time() / 60:.1f} minutes of processor time")
    to_transformers(decoder.cpu()).save_pretrained(options.out)


if __name__ == "__main__":
    main()
