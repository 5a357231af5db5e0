"""The conformance suite for tokenizers, golden ids for it, and a benchmark."""

from zigai_core.testing.tokenizer.encoding_speed import throughput
from zigai_core.testing.tokenizer.goldens import Goldens, load_goldens, save_goldens
from zigai_core.testing.tokenizer.suite import TokenizerConformance
from zigai_core.testing.tokenizer.texts import sample_texts

__all__ = [
    "Goldens",
    "TokenizerConformance",
    "load_goldens",
    "sample_texts",
    "save_goldens",
    "throughput",
]
