"""Makes an oracle of `qwen` from one of `qwen2`, whose models are the same but for how they are stored.

Queries, keys and values are one matrix, `attn_qkv`, and `feed_forward_length` is the width of the gate and up
projections together (Qwen-7B: modeling_qwen.py of huggingface.co/Qwen/Qwen-7B).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.testing.oracles.oracle import Oracle, float_tensor


def change(oracle: Oracle) -> Oracle:
    model, fused = oracle.model, {}
    for name, tensor in model.tensors.items():
        layer, found, kind = name.partition(".attn_q.")
        if found:
            parts = [model.tensors[f"{layer}.attn_{part}.{kind}"].to_float32() for part in "qkv"]
            fused[f"{layer}.attn_qkv.{kind}"] = float_tensor(
                f"{layer}.attn_qkv.{kind}", np.concatenate(parts)
            )
        elif ".attn_k." not in name and ".attn_v." not in name:
            fused[name] = tensor
    values = dict(model.hyperparameters.items())
    values["feed_forward_length"] *= 2
    del values["attention.head_count_kv"]
    stored = replace(
        model, architecture="qwen", tensors=fused, hyperparameters=Hyperparameters(values, prefix="qwen")
    )
    return replace(oracle, model=stored)
