"""Tiny quantised models whose logits transformers has recorded, made from seeds, equal on every machine.

The packages of the families have oracles of their own, with float32 weights (tests/oracles).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.testing.toys import toy_decoder

GOLDENS = Path(__file__).resolve().parent / "goldens"
TOKENS = [1, 260, 403, 17, 511, 300, 301, 302, 5, 260, 403, 77, 480, 481, 482, 9]


CASES: Mapping[str, Callable[[], ModelDescriptor]] = {
    "llama-q8_0": lambda: toy_decoder(dtype="Q8_0", seed=4),
    "llama-q4_k_m": lambda: toy_decoder(
        dtype="Q4_K",
        dtypes={"ffn_down": "Q6_K", "output": "Q6_K", "attn_v": "Q5_K"},
        width=256,
        hidden=512,
        seed=5,
    ),
    "llama-q5_0": lambda: toy_decoder(dtype="Q5_0", dtypes={"ffn_down": "Q4_0"}, seed=6),
}
"""Models, each written as a GGUF file that transformers reads and dequantises itself."""


def fingerprint(model: ModelDescriptor) -> str:
    """SHA-256 of the model's tensors, to detect a golden that was recorded with another model."""
    digest = hashlib.sha256()
    for name in sorted(model.tensors):
        digest.update(name.encode())
        digest.update(model.tensors[name].data.tobytes())
    return digest.hexdigest()
