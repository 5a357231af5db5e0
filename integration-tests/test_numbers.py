"""Accuracy of the native backend: the divergence of its next-token distributions from the float32 oracle's.

`benchmarks/accuracy.py` measures the same for any file, and for llama.cpp. The bounds are a quarter, about
six standard errors, above the measured values; newly trained weights need new bounds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import zigai

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "integration-tests" / "reference_models"
BUNDLED = ROOT / "packages" / "zigai" / "src" / "zigai" / "models"
STORIES = ROOT.parent / "shared" / "models" / "stories260K.gguf"
DIALOGUES = 60


@dataclass(frozen=True)
class Bound:
    """A file, with bounds on the mean divergence and on the increase of the mean surprise, in nats."""

    path: Path
    divergence: float
    surprise: float


BOUNDS = (
    Bound(BUNDLED / "reference-qwen2.Q8_0.gguf", 2.5e-4, 2e-3),
    Bound(HERE / "reference-qwen2.Q4_K_M.gguf", 3.0e-4, 2e-3),
    Bound(STORIES, 1e-9, 1e-6),
)
"""With float32 weights nothing is rounded to int8: the two differ only in the order of additions."""


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the modules of the benchmarks importable during a test."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield
    for name in set(sys.modules) - before:
        if name.split(".")[0] == "comparison":
            del sys.modules[name]


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: bound.path.stem)
def test_the_native_backend_stays_within_the_measured_divergence_from_float32(bound: Bound) -> None:
    from comparison.judgement import Judged
    from comparison.passages import passages

    if not bound.path.exists():
        pytest.skip(f"../shared/models/{bound.path.name} is absent")
    native = zigai.load(bound.path, backend="native")
    exact = zigai.load(bound.path, backend="numpy")
    texts = passages(native, dialogues=DIALOGUES)
    oracle = [exact.logits(text.tokens) for text in texts]
    truth = Judged.of(texts, oracle, oracle)
    judged = Judged.of(texts, oracle, [native.logits(text.tokens) for text in texts])
    assert judged.kl.value < bound.divergence
    assert judged.surprise.mean() - truth.surprise.mean() < bound.surprise
