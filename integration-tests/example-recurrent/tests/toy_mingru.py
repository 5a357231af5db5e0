"""A tiny minGRU with random weights, in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor
from zigai_core.testing.toys import random_tensor, toy_vocabulary


def toy_mingru(
    *,
    layers: int = 2,
    width: int = 32,
    state: int = 48,
    hidden: int = 40,
    vocabulary: int = 512,
    bias: bool = False,
    **changes: Any,
) -> ModelDescriptor:
    """Returns the descriptor; `changes` are further hyperparameters, with two underscores for a dot."""
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (vocabulary, width),
        "output_norm.weight": (width,),
    }
    for at in (f"blk.{layer}" for layer in range(layers)):
        shapes |= {
            f"{at}.gru_norm.weight": (width,),
            f"{at}.gru_gate.weight": (state, width),
            f"{at}.gru_candidate.weight": (state, width),
            f"{at}.gru_output.weight": (width, state),
            f"{at}.ffn_norm.weight": (width,),
            f"{at}.ffn_gate.weight": (hidden, width),
            f"{at}.ffn_up.weight": (hidden, width),
            f"{at}.ffn_down.weight": (width, hidden),
        }
        if bias:
            shapes |= {f"{at}.gru_{part}.bias": (state,) for part in ("gate", "candidate")}
    random = np.random.RandomState(3)
    values: dict[str, Any] = {
        "vocab_size": vocabulary,
        "context_length": 256,
        "block_count": layers,
        "embedding_length": width,
        "recurrent.state_length": state,
        "feed_forward_length": hidden,
        "attention.layer_norm_rms_epsilon": 1e-5,
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    return ModelDescriptor(
        name="toy-mingru",
        architecture="mingru",
        hyperparameters=Hyperparameters(values, prefix="mingru"),
        tensors={
            name: random_tensor(name, shape, "F32", random, 1.0 if len(shape) == 1 else shape[-1] ** -0.5)
            for name, shape in shapes.items()
        },
        tokenizer=toy_vocabulary(vocabulary),
    )
