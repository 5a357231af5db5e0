"""The graphs of the LFM family against transformers, by the conformance suite of architectures."""

from __future__ import annotations

from pathlib import Path

from zigai_core.testing.architecture import ArchitectureConformance
from zigai_lfm import lfm2, lfm2moe


class TestLFM(ArchitectureConformance):
    oracles = Path(__file__).parent / "oracles"
    architectures = {"lfm2": lfm2, "lfm2moe": lfm2moe}
    defaults = {"expert_weights_norm": "true: llama.cpp", "expert_weights_scale": "1: llama.cpp"}
    unlike_llama_cpp = {
        "lfm2-with-biases": "it refuses files with biases of convolutions",
        "lfm2moe": "it divides shares by a sum of at least 0.00006, to which it adds nothing",
        "lfm2moe-plain": "it refuses files without biases for the choice of experts",
    }
