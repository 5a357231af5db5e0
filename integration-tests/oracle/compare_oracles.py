"""Compares llama.cpp with the oracles of every family, from GGUF files that `convert` writes.

`nox -s oracle` runs this. Without llama-cpp-python all tests are skipped: see
zigai_core.testing.architecture.llama_cpp_runner.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from zigai_core.testing.architecture import LlamaCppConformance
from zigai_core.testing.oracles import Oracle

PAIRS = list(runpy.run_path(str(Path(__file__).with_name("suites.py")))["pairs"]())
NAMES = [oracle.model.name for *_, oracle in PAIRS]


@pytest.mark.parametrize(
    ("package", "suite", "oracle"), PAIRS, ids=[oracle.model.name for *_, oracle in PAIRS]
)
def test_llama_cpp_computes_what_transformers_does(
    package: str, suite: LlamaCppConformance, oracle: Oracle, tmp_path: Path
) -> None:
    suite.test_llama_cpp_computes_the_same_from_a_file(oracle, tmp_path)
