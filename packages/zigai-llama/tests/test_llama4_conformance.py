"""The graph of Llama 4 against transformers, by the conformance suite of architectures.

It has oracles of its own, because files without a window have one of 8192 tokens.
"""

from __future__ import annotations

from pathlib import Path

from zigai_core.testing.architecture import ArchitectureConformance
from zigai_llama import llama4

CHUNKS = "it has chunks of 8192 tokens, whatever the file says"


class TestLlama4(ArchitectureConformance):
    oracles = Path(__file__).parent / "oracles_of_llama4"
    architectures = {"llama4": llama4}
    optional = ("output.weight", "*.bias", "rope_freqs.weight")
    defaults = {
        "attention.sliding_window": "chunks of 8192: llama.cpp",
        "attention.sliding_window_pattern": "three of four layers: llama.cpp",
        "attention.temperature_length": "8192: llama.cpp",
        "attention.temperature_scale": "0.1: llama.cpp",
    }
    without_effect = {
        "blk.3.attn_k.bias": "without RoPE all scores of a query have the same part of it",
    }
    unlike_llama_cpp = {
        "llama4": CHUNKS,
        "llama4-128-experts": CHUNKS,
        "llama4-full": "it refuses files with a bias of the output projection",
        "llama4-with-images": CHUNKS,
    }
