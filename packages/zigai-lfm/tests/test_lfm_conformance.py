"""The graphs of the LFM family against transformers, by the conformance suite of architectures."""

from __future__ import annotations

from pathlib import Path

from zigai_core.testing.architecture import ArchitectureConformance
from zigai_lfm import lfm2


class TestLFM(ArchitectureConformance):
    oracles = Path(__file__).parent / "oracles"
    architectures = {"lfm2": lfm2}
    unlike_llama_cpp = {"lfm2-with-biases": "it refuses files with biases of convolutions"}
