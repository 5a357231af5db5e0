"""A small trained model: tokens and greedy text equal those recorded with llama.cpp."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zigai
import zigai_kernels.dispatch
from zigai_core.engine.direct import DirectRunner, Part

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
FILE = SHARED / "models" / "stories260K.gguf"
GOLDEN = SHARED / "models" / "stories260K.golden.json"
CASES: list[dict[str, Any]] = json.loads(GOLDEN.read_text("utf-8"))["cases"] if GOLDEN.exists() else []

pytestmark = pytest.mark.skipif(not CASES, reason="../shared/models/stories260K.* is absent")


NEAR_TIES = {'She said, "I am sorry."': 1}
"""Index of a recorded token that float32 does not reproduce: the two best logits are 0.0014 apart.

The recording has the second best, because llama.cpp accumulates attention values in float16. Hugging Face
transformers has the first, as ZigAI does, with the recorded one 0.00143 below.
"""
TIE = 0.003


def check(model: zigai.Model, case: dict[str, Any]) -> None:
    """Greedy decoding gives the recorded tokens. A near tie may differ by less than `TIE`."""
    runner = DirectRunner(model.program)
    sequence, tokens = runner.new_sequence(), case["tokens"]
    for index, recorded in enumerate(case["greedy"]):
        logits = runner.run([Part(sequence, tokens)])[0]["logits"][0]
        if NEAR_TIES.get(case["text"]) == index:
            assert logits.max() - logits[recorded] < TIE
        else:
            assert int(np.argmax(logits)) == recorded, f"token {index} after {case['text']!r}"
        tokens = [recorded]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:20])
def test_tokens_are_the_recorded_ones_and_are_decoded_to_the_text(case: dict[str, Any]) -> None:
    tokenizer = zigai.load(FILE, backend="numpy").tokenizer
    assert tokenizer.encode(case["text"]) == case["tokens"]
    assert tokenizer.decode(case["tokens"]) == case["text"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:20])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_greedy_tokens_are_the_recorded_ones(backend: str, threads: int, case: dict[str, Any]) -> None:
    check(zigai.load(FILE, backend=backend, threads=threads), case)


@pytest.mark.parametrize("instruction_set", zigai_kernels.dispatch.supported())
def test_every_instruction_set_of_this_machine_gives_the_recorded_tokens(instruction_set: str) -> None:
    program = f"import runpy; runpy.run_path({str(Path(__file__))!r})['check_all']()"
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "ZIGAI_CPU": instruction_set},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert instruction_set in run.stdout


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_generated_text_is_the_recorded_one(backend: str) -> None:
    model = zigai.load(FILE, backend=backend)
    for case in CASES:
        if case["text"] in NEAR_TIES:
            continue
        count = len(case["greedy"])
        reply = model.generate(
            case["text"], sampling=zigai.SamplingOptions(temperature=0.0), max_tokens=count
        )
        pieces = list(reply)
        assert reply.tokens == case["greedy"]
        assert "".join(pieces) == reply.text == model.tokenizer.decode_bytes(case["greedy"]).decode()
        assert reply.finish_reason == "length"


def check_all() -> None:
    """Check every case with the native backend and print its summary. Run in a process of its own."""
    model = zigai.load(FILE, backend="native")
    for case in CASES:
        check(model, case)
    print(model.program.report().summary)
