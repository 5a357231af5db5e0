"""The graphs of the Phi family against transformers, by the conformance suite of architectures."""

from __future__ import annotations

from pathlib import Path

from zigai_core.testing.architecture import ArchitectureConformance
from zigai_phi import phi3


class TestPhi(ArchitectureConformance):
    oracles = Path(__file__).parent / "oracles"
    architectures = {"phi3": phi3}
    defaults = {
        "rope.dimension_count": "a whole head: llama.cpp",
        "rope.scaling.original_context_length": "context_length: llama.cpp",
        "rope.scaling.type": "longrope if the file has its factors: llama.cpp",
    }
    unlike_llama_cpp = {"phi3-windowed": "it ignores the window of phi3"}  # its pull request 13676
