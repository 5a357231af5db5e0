"""A small SentencePiece vocabulary, trained on a few lines of text, and a function to add tokens to it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.descriptor import TokenizerSpec

sys.path.insert(0, str(Path(__file__).parent))

CORPUS = """the quick brown fox jumps over the lazy dog while the other dogs look on and the fox looks back
what is seven plus five? seven plus five is twelve. hello world, hello there, thank you and good night
naïve café über straße ñandú señor Ελλάδα привет мир 你好世界 世界你好 こんにちは 안녕하세요 🙂🙂🙃
l'été déjà vu, un deux trois quatre
    for index in range(12):        print(index, index * index)    return     None
"""
SPECIAL_TOKENS = ("<unk>", "<s>", "</s>")


def _merges(lines: Sequence[str], count: int) -> list[str]:
    """The merged texts of byte-pair encoding, in order, by counting pairs (Sennrich et al., 2016)."""
    counts = Counter(tuple(line) for line in lines)
    merged: list[str] = []
    for _ in range(count):
        pairs: Counter[tuple[str, str]] = Counter()
        for symbols, n in counts.items():
            for pair in pairwise(symbols):
                pairs[pair] += n
        if not pairs:
            break
        left, right = max(pairs, key=lambda pair: (pairs[pair], pair))
        if left + right not in merged:
            merged.append(left + right)
        renewed: Counter[tuple[str, ...]] = Counter()
        for symbols, n in counts.items():
            out: list[str] = []
            for symbol in symbols:
                if out and out[-1] == left and symbol == right:
                    out[-1] = left + right
                else:
                    out.append(symbol)
            renewed[tuple(out)] += n
        counts = renewed
    return merged


def small_spec() -> TokenizerSpec:
    """About 600 tokens: three special, 256 bytes, merges and characters, with scores as in sentencepiece."""
    lines = ["\u2581" + line.replace(" ", "\u2581") for line in CORPUS.splitlines()]
    merges = _merges(lines, 240)
    characters = sorted(set("".join(lines)))
    tokens = [*SPECIAL_TOKENS, *(f"<0x{byte:02X}>" for byte in range(256)), *merges, *characters]
    scores = np.zeros(len(tokens), dtype=np.float32)
    scores[259:] = -np.arange(len(tokens) - 259)
    types = np.array([2, 3, 3] + [6] * 256 + [1] * (len(tokens) - 259), dtype=np.int32)
    return TokenizerSpec(
        kind="llama",
        tokens=tokens,
        scores=scores,
        types=types,
        special_ids={"bos": 1, "eos": 2, "unknown": 0},
        end_ids=frozenset({2}),
        add_bos=True,
    )


def with_tokens(spec: TokenizerSpec, added: Sequence[tuple[str, int]], **changes: Any) -> TokenizerSpec:
    """`spec` with tokens `(text, type)` added at its end."""
    scores, types = spec.scores, spec.types
    if scores is not None:
        scores = np.append(scores, np.full(len(added), -1000, dtype=np.float32))
    if types is not None:
        types = np.append(types, np.array([kind for _, kind in added], dtype=np.int32))
    tokens = [*spec.tokens, *(text for text, _ in added)]
    return replace(spec, tokens=tokens, scores=scores, types=types, **changes)


@pytest.fixture(scope="session")
def spec() -> TokenizerSpec:
    return small_spec()


@pytest.fixture(scope="session")
def extend() -> Callable[..., TokenizerSpec]:
    return with_tokens
