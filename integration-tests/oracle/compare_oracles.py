"""Compares llama.cpp with the oracles of every family, from GGUF files that `convert` writes.

`nox -s oracle` runs this. Without llama-cpp-python all tests are skipped: see
zigai_core.testing.architecture.llama_cpp_runner.
"""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path

import pytest

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.testing.architecture import LlamaCppConformance
from zigai_core.testing.architecture.llama_cpp_runner import VARIABLE, interpreter, outputs_of_llama_cpp
from zigai_core.testing.oracles import Oracle
from zigai_core.testing.oracles.comparison import difference
from zigai_core.testing.schedules.schedules import whole_prefill

PAIRS = list(runpy.run_path(str(Path(__file__).with_name("suites.py")))["pairs"]())
NAMES = [oracle.model.name for *_, oracle in PAIRS]


@pytest.mark.parametrize(
    ("package", "suite", "oracle"), PAIRS, ids=[oracle.model.name for *_, oracle in PAIRS]
)
def test_llama_cpp_computes_what_transformers_does(
    package: str, suite: LlamaCppConformance, oracle: Oracle, tmp_path: Path
) -> None:
    suite.test_llama_cpp_computes_the_same_from_a_file(oracle, tmp_path)


UNWRITTEN = (
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attention.temperature_length",
    "attention.temperature_scale",
)
"""Keys of llama4 that llama.cpp's converter does not write, so that its files have chunks of 8192 tokens."""


@pytest.mark.parametrize("name", ["llama4", "llama4-with-images", "llama4-128-experts"])
def test_llama4_without_the_keys_that_converters_leave_out(name: str, tmp_path: Path) -> None:
    """In its oracles, chunks are shorter than their texts, which llama.cpp does not read."""
    if interpreter() is None:
        pytest.skip(f"{VARIABLE} names no python with llama-cpp-python")
    [(suite, oracle)] = [(suite, oracle) for _, suite, oracle in PAIRS if oracle.model.name == name]
    keys = {key: value for key, value in oracle.model.hyperparameters.items() if key not in UNWRITTEN}
    model = dataclasses.replace(oracle.model, hyperparameters=Hyperparameters(keys, prefix="llama4"))
    suite.write_gguf(model, tmp_path / "model.gguf")
    found = outputs_of_llama_cpp(tmp_path / "model.gguf", oracle.tokens)
    program = suite.compile(next(iter(suite.backends())), suite.build(model), model.tensors)
    expected = whole_prefill(program, oracle.tokens)["logits"]
    assert difference({"logits": found}, {"logits": expected}) <= suite.llama_cpp_tolerance
    assert difference({"logits": found}, {"logits": oracle.outputs["logits"]}) > suite.llama_cpp_tolerance
