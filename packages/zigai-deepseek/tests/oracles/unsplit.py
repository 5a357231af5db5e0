"""Stores a model as files of llama.cpp did before May 2025: `attn_kv_b`, and the widths of heads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.testing.oracles.oracle import Oracle, float_tensor


def change(oracle: Oracle) -> Oracle:
    model, tensors = oracle.model, {}
    for name, tensor in model.tensors.items():
        if ".attn_k_b." in name:
            values = model.tensors[name.replace("_k_b", "_v_b")].to_float32()
            keys = tensor.to_float32().transpose(0, 2, 1)
            both = np.concatenate((keys, values), axis=1).reshape(-1, keys.shape[2])
            joined = name.replace("_k_b", "_kv_b")
            tensors[joined] = float_tensor(joined, np.ascontiguousarray(both))
        elif ".attn_v_b." not in name:
            tensors[name] = tensor
    values_of = dict(model.hyperparameters.items())
    values_of["attention.key_length"] = values_of.pop("attention.key_length_mla")
    values_of["attention.value_length"] = values_of.pop("attention.value_length_mla")
    values_of["attention.head_count_kv"] = values_of["attention.head_count"]
    hp = Hyperparameters(values_of, prefix=model.architecture)
    return replace(oracle, model=replace(model, tensors=tensors, hyperparameters=hp))
