"""The conformance suite for tokenizers."""

from zigai_core.testing.tokenizer.suite import TokenizerConformance, throughput

__all__ = ["TokenizerConformance", "throughput"]
