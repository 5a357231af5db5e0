"""The graphs of the Command family against transformers, by the conformance suite of architectures."""

from __future__ import annotations

from pathlib import Path

from zigai_cohere import cohere2, command_r
from zigai_core.testing.architecture import ArchitectureConformance

UNTIED = "its head is tied"


class TestCohere(ArchitectureConformance):
    oracles = Path(__file__).parent / "oracles"
    architectures = {"cohere2": cohere2, "command-r": command_r}
    defaults = {
        "attention.sliding_window_pattern": "three of four layers: llama.cpp",
        "logit_scale": "1 in command-r: llama.cpp",
    }
    without_effect = {
        "blk.0.attn_k.bias": "without RoPE all scores of a query have the same part of it, as in cohere2",
        "blk.3.attn_k.bias": "the same",
    }
    unlike_llama_cpp = {"cohere2-one-kv-head": UNTIED, "command-r-untied": UNTIED}
