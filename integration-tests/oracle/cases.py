"""Tiny models whose logits the float32 oracle has recorded, made from seeds and equal on every machine."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zigai_core.contracts.descriptor import ModelDescriptor, TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.testing.toys import toy_decoder

GOLDENS = Path(__file__).resolve().parent / "goldens"
TOKENS = [1, 260, 403, 17, 511, 300, 301, 302, 5, 260, 403, 77, 480, 481, 482, 9]


@dataclass(frozen=True)
class Case:
    """A model, returned by `make`. The oracle reads it from a GGUF file, or, if its reader does not support
    the feature of the case, gets the weights and `config`: a class and its arguments."""

    make: Callable[[], ModelDescriptor]
    config: Mapping[str, Any] = field(default_factory=dict)


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def llama3_divisors(pairs: int, base: float) -> np.ndarray:
    """The divisors of frequencies that converters store as `rope_freqs.weight` (arXiv:2407.21783)."""
    low, high = (
        LLAMA3["original_max_position_embeddings"] / LLAMA3[k]
        for k in ("low_freq_factor", "high_freq_factor")
    )
    divisors = []
    for pair in range(pairs):
        wavelength = 2 * math.pi * base ** (pair / pairs)
        if wavelength < high:
            divisors.append(1.0)
        elif wavelength > low:
            divisors.append(LLAMA3["factor"])
        else:
            smooth = (LLAMA3["original_max_position_embeddings"] / wavelength - LLAMA3["low_freq_factor"]) / (
                LLAMA3["high_freq_factor"] - LLAMA3["low_freq_factor"]
            )
            divisors.append(1 / ((1 - smooth) / LLAMA3["factor"] + smooth))
    return np.array(divisors, dtype=np.float32)


def llama3() -> ModelDescriptor:
    model = toy_decoder(seed=12)
    divisors = llama3_divisors(8, 10000.0)
    tensor = TensorInfo("rope_freqs.weight", (8,), DTYPES["F32"], divisors.view(np.uint8))
    return dataclasses.replace(model, tensors={**model.tensors, tensor.name: tensor})


CASES: Mapping[str, Case] = {
    "llama": Case(lambda: toy_decoder(seed=1)),
    "llama-tied": Case(lambda: toy_decoder(seed=2, tied=True)),
    "llama-one-kv-head": Case(lambda: toy_decoder(seed=3, kv_heads=1, layers=3)),
    "llama-q8_0": Case(lambda: toy_decoder(dtype="Q8_0", seed=4)),
    "llama-q4_k_m": Case(
        lambda: toy_decoder(
            dtype="Q4_K",
            dtypes={"ffn_down": "Q6_K", "output": "Q6_K", "attn_v": "Q5_K"},
            width=256,
            hidden=512,
            seed=5,
        )
    ),
    "llama-q5_0": Case(lambda: toy_decoder(dtype="Q5_0", dtypes={"ffn_down": "Q4_0"}, seed=6)),
    "llama-biases": Case(lambda: toy_decoder(seed=7, bias=True), {"attention_bias": True}),
    "llama-wide-heads": Case(lambda: toy_decoder(seed=8, head_dim=32), {"head_dim": 32}),
    "llama-linear-rope": Case(
        lambda: toy_decoder(seed=9, rope__scaling__type="linear", rope__scaling__factor=4.0),
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}},
    ),
    "llama-yarn": Case(
        lambda: toy_decoder(
            seed=13,
            rope__scaling__type="yarn",
            rope__scaling__factor=8.0,
            rope__scaling__original_context_length=64,
        ),
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "factor": 8.0,
                "original_max_position_embeddings": 64,
                "rope_theta": 10000.0,
            }
        },
    ),
    "llama3": Case(llama3, {"rope_parameters": {**LLAMA3, "rope_theta": 10000.0}}),
    "qwen2": Case(lambda: toy_decoder("qwen2", seed=14, bias=True, tied=True)),
    "qwen3": Case(
        lambda: toy_decoder("qwen3", seed=15, qk_norm=True, tied=True, head_dim=32),
        {"class": "Qwen3", "head_dim": 32},
    ),
    "qwen2moe": Case(
        lambda: toy_decoder("qwen2moe", seed=16, bias=True, experts=4, shared_expert=True),
        {
            "class": "Qwen2Moe",
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 96,
            "shared_expert_intermediate_size": 96,
            "norm_topk_prob": False,
        },
    ),
    "qwen3moe": Case(
        lambda: toy_decoder("qwen3moe", seed=17, qk_norm=True, head_dim=32, experts=4),
        {
            "class": "Qwen3Moe",
            "head_dim": 32,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 96,
            "norm_topk_prob": True,
        },
    ),
    "mixtral": Case(
        lambda: toy_decoder(seed=18, experts=4),
        {"class": "Mixtral", "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    ),
    "mistral-window": Case(
        lambda: toy_decoder(seed=11, attention__sliding_window=5), {"class": "Mistral", "sliding_window": 5}
    ),
}


def fingerprint(model: ModelDescriptor) -> str:
    """SHA-256 of the model's tensors, to detect a golden that was recorded with another model."""
    digest = hashlib.sha256()
    for name in sorted(model.tensors):
        digest.update(name.encode())
        digest.update(model.tensors[name].data.tobytes())
    return digest.hexdigest()
