"""Compares the reference models' tokenizers with those that transformers makes from the same files, on 1 MB.

`nox -s oracle` runs this. transformers converts GGUF metadata to tokenizers with its own code.
"""

from __future__ import annotations

import json
import random
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from zigai_core.api.loading import read
from zigai_tokenizers.byte_level_bpe import ByteLevelBPETokenizer
from zigai_tokenizers.sentencepiece import SentencePieceTokenizer

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "integration-tests" / "reference_models"
TOKENIZERS = {"qwen2": ByteLevelBPETokenizer, "llama": SentencePieceTokenizer}


@cache
def megabyte() -> list[str]:
    """Texts of a million bytes in total: dialogues, files of this repository, and random characters."""
    dialogues = json.loads((MODELS / "answers-qwen2.json").read_text(encoding="utf-8"))["dialogues"]
    texts = [message["content"] for row in dialogues for message in row["messages"]]
    for pattern in ("**/*.md", "packages/*/src/**/*.py"):
        texts += [path.read_text(encoding="utf-8") for path in sorted(ROOT.glob(pattern))]
    rng = random.Random(7)
    ranges = ((0x20, 0x7F), (0x20, 0x7F), (0xA1, 0x250), (0x370, 0x600), (0x4E00, 0x9FFF), (0x1F300, 0x1F6FF))
    size = sum(len(text.encode()) for text in texts)
    while size < 1_000_000:
        low, high = rng.choice(ranges)
        text = "".join(chr(rng.randrange(low, high)) for _ in range(rng.randint(1, 60)))
        texts.append(text)
        size += len(text.encode())
    # transformers always recognises control tokens in a text, ZigAI only with special=True.
    return [re.sub(r"</?s>|<unk>|<\|\w+\|>", "", text) for text in texts]


@pytest.mark.parametrize("family", TOKENIZERS)
def test_a_megabyte_gives_the_same_ids(family: str) -> None:
    name = f"reference-{family}.Q4_K_M.gguf"
    theirs: Any = AutoTokenizer.from_pretrained(MODELS, gguf_file=name)
    spec = read(MODELS / name).tokenizer
    assert spec is not None
    ours = TOKENIZERS[family](spec)
    for text in megabyte():
        if family == "llama":
            # SentencePiece adds a space before a text even if it begins with one; transformers does not.
            text = text.lstrip(" ")
        assert ours.encode(text, bos=False) == theirs.encode(text, add_special_tokens=False), text
