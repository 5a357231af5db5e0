"""A small model with trained weights: tokens and greedy text are the ones recorded with llama.cpp."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zigai

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
FILE = SHARED / "models" / "stories260K.gguf"
GOLDEN = SHARED / "models" / "stories260K.golden.json"
CASES: list[dict[str, Any]] = json.loads(GOLDEN.read_text("utf-8"))["cases"] if GOLDEN.exists() else []

pytestmark = pytest.mark.skipif(not CASES, reason="../shared/models/stories260K.* is absent")


def greedy(model: zigai.Model, tokens: list[int], count: int) -> list[int]:
    session = model.new_session()
    session.extend(tokens)
    written: list[int] = []
    for _ in range(count):
        token = int(np.argmax(session.logits()))
        written.append(token)
        session.extend([token])
    return written


def check(backend: str, threads: int) -> str:
    """Compare every case; gives the program's summary, which names the instruction set."""
    model = zigai.load(FILE, backend=backend, threads=threads)
    for case in CASES:
        assert model.tokenizer.encode(case["text"]) == case["tokens"], case["text"]
        assert greedy(model, case["tokens"], len(case["greedy"])) == case["greedy"], case["text"]
    return model.program.report().summary


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:20])
def test_tokens_are_the_recorded_ones_and_come_back_as_the_text(case: dict[str, Any]) -> None:
    tokenizer = zigai.load(FILE, backend="numpy").tokenizer
    assert tokenizer.encode(case["text"]) == case["tokens"]
    assert tokenizer.decode(case["tokens"]) == case["text"]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_greedy_tokens_are_the_recorded_ones(backend: str, threads: int) -> None:
    check(backend, threads)


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_generated_text_is_the_recorded_one(backend: str) -> None:
    model = zigai.load(FILE, backend=backend)
    for case in CASES:
        reply = model.generate(
            case["text"], sampling=zigai.SamplingOptions(temperature=0.0), max_tokens=len(case["greedy"])
        )
        pieces = list(reply)
        assert reply.tokens == case["greedy"]
        assert "".join(pieces) == reply.text == model.tokenizer.decode_bytes(case["greedy"]).decode()
        assert reply.finish_reason == "length"
