"""Logits of tiny quantised models against the recorded float32 logits of transformers (see record.py)."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from zigai_core.api.loading import build
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Backend
from zigai_core.engine.direct import DirectRunner, Part
from zigai_core.ops.reference import NumpyBackend
from zigai_kernels import NativeBackend

ORACLE = runpy.run_path(str(Path(__file__).with_name("cases.py")))
CASES, GOLDENS, fingerprint = ORACLE["CASES"], ORACLE["GOLDENS"], ORACLE["fingerprint"]


def logits(name: str, backend: Backend) -> tuple[np.ndarray, np.ndarray]:
    model = CASES[name]()
    golden = np.load(GOLDENS / f"{name}.npz")
    assert str(golden["fingerprint"]) == fingerprint(model), "the case has changed since it was recorded"
    graph = build(model, context=64)
    options = CompileOptions(context=64, kv_dtype="F16")
    runner = DirectRunner(backend.compile(graph, model.tensors, options))
    tokens = golden["tokens"].tolist()
    outputs = runner.run([Part(runner.new_sequence(), tokens, want_all=True)])[0]
    return outputs["logits"], golden["logits"]


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_numpy_backend_gives_the_oracles_logits(name: str) -> None:
    actual, expected = logits(name, NumpyBackend())
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_native_backends_distribution_is_close_to_the_oracles(name: str) -> None:
    actual, expected = (rows.astype(np.float64) for rows in logits(name, NativeBackend()))
    p, q = (rows - np.log(np.exp(rows).sum(-1, keepdims=True)) for rows in (expected, actual))
    assert (np.exp(p) * (p - q)).sum(-1).mean() <= 1e-3
