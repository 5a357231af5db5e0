"""The graphs of the Gemma family against transformers, by the conformance suite of architectures."""

from __future__ import annotations

from pathlib import Path

from zigai_core.testing.architecture import ArchitectureConformance
from zigai_gemma import gemma, gemma2, gemma3, gemma_embedding

LAYERS = "its windows and scale follow the number of layers and the width of a head"


class TestGemma(ArchitectureConformance):
    oracles = Path(__file__).parent / "oracles"
    architectures = {
        "gemma": gemma,
        "gemma2": gemma2,
        "gemma3": gemma3,
        "gemma-embedding": gemma_embedding,
    }
    llama_cpp_tolerance = 2e-2  # it looks the GELU up in a table of float16
    unlike_llama_cpp = {"gemma2-scaled": LAYERS, "gemma3-scaled": LAYERS}
