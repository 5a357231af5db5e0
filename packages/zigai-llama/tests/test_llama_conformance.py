"""The graphs of the LLaMA family against transformers, by the conformance suite of architectures."""

from __future__ import annotations

from pathlib import Path

from zigai_core.testing.architecture import ArchitectureConformance
from zigai_llama import llama


class TestLlama(ArchitectureConformance):
    oracles = Path(__file__).parent / "oracles"
    architectures = {"llama": llama}
    optional = ("output.weight", "*.bias", "rope_freqs.weight")
    unrecorded = {
        "expert_weights_norm": "Mixtral has no such setting in transformers; qwen3moe has an oracle of it"
    }
    unlike_llama_cpp = {"mistral": "its llama has no window"}
