"""`modern-bert`: ModernBERT (Warner et al., 2024, arXiv:2412.13663)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from zigai_bert.layers import attention, embedding, encoder_shape, pooled
from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor, Pairing
from zigai_core.contracts.errors import quote
from zigai_core.contracts.graph import Array, Graph, Value
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import Activation
from zigai_core.ops.rope import rope_frequencies

_PATTERN = "attention.sliding_window_pattern"
_ACTIVATIONS: dict[str, Activation] = {"gelu": "gelu", "geglu": "gelu", "silu": "silu", "swiglu": "silu"}


def modern_bert(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: a pre-norm encoder with GeGLU, of whose layers most have a symmetric window.

    Tokens see those that are at most half a window away (`local_attention` of transformers,
    `LLAMA_SWA_TYPE_SYMMETRIC` of llama.cpp); such layers have a RoPE base of their own, to which no scaling
    applies. The first layer has no norm before attention. Defaults are those of llama.cpp
    (src/models/modern-bert.cpp).
    """
    hp, shape = model.hyperparameters, encoder_shape(model.hyperparameters)
    window = hp.integer("attention.sliding_window", 0) // 2 + 1
    flags = _has_window(hp, shape.layers)
    if hp.integer("attention.sliding_window", 0) == 0:
        flags = [False] * shape.layers
    act = hp.text("hidden_activation", "gelu")
    if act not in _ACTIVATIONS:
        raise hp.unsupported("hidden_activation", f"is {quote(act)}; supported are {', '.join(_ACTIVATIONS)}")

    g = GraphBuilder(model.tensors)
    hp.number("rope.freq_base", minimum=1.001)  # no default fits all files
    base = hp.number("rope.freq_base_swa", 0.0, minimum=0.0) or 10000.0
    if base < 1.001:
        raise hp.error("rope.freq_base_swa", f"is {base}, but must be 1.001 or more, or 0 for 10000")
    local_hp = hp.replaced(rope__freq_base=base, rope__scaling__type="none")
    full = rope_frequencies(g, hp, shape.head_dim, context=context)
    local = rope_frequencies(g, local_hp, shape.head_dim, context=context)
    x = embedding(g, shape.width, shape.epsilon)
    for number, flag in enumerate(flags):
        at, rope = f"blk.{number}", local if flag else full
        rotated = partial(
            _rotated, g, shape.head_dim, rope.frequencies, model.conventions.rope_pairing, rope.magnitude
        )
        first = number == 0 and not g.has(f"{at}.attn_norm.weight")
        h = x if first else g.layer_norm(x, f"{at}.attn_norm", shape.epsilon)
        h = attention(g, h, at, shape, rotated=rotated, window=window if flag else None)
        x = g.add(x, h, name=f"{at}.attn_residual")
        h = g.linear(g.layer_norm(x, f"{at}.ffn_norm", shape.epsilon), f"{at}.ffn_up", 2 * shape.hidden)
        gate = g.columns(h, 0, shape.hidden, name=f"{at}.ffn_gate")
        up = g.columns(h, shape.hidden, shape.hidden, name=f"{at}.ffn_value")
        h = g.gated_activation(gate, up, activation=_ACTIVATIONS[act], name=f"{at}.ffn_act")
        x = g.add(x, g.linear(h, f"{at}.ffn_down", shape.width), name=f"{at}.ffn_residual")
    pooled(g, g.layer_norm(x, "output_norm", shape.epsilon), hp)
    return g.finish()


def _rotated(
    g: GraphBuilder, dim: int, frequencies: Array, pairing: Pairing, magnitude: float, x: Value, name: str
) -> Value:
    return g.rope(x, dim, frequencies, pairing, magnitude=magnitude, name=name)


def _has_window(hp: Hyperparameters, layers: int) -> Sequence[bool]:
    """Returns whether each layer has the window.

    `attention.sliding_window_pattern` holds a flag for each layer, or a number n, 3 by default: then every
    n-th layer has none, from the first on (0: all have it). Raises `FormatError` for flags that are none.
    """
    given = hp.get(_PATTERN)
    if not isinstance(given, (list, tuple, np.ndarray)):
        period = hp.integer(_PATTERN, 3)
        return [period == 0 or number % period != 0 for number in range(layers)]
    flags = list(given)
    numbers = all(isinstance(flag, (bool, int, np.bool_, np.integer)) for flag in flags)
    if len(flags) != layers or not numbers or any(flag not in (0, 1) for flag in flags):
        raise hp.error(_PATTERN, f"is {quote(flags)}, but must hold true or false for {layers} layers")
    return [bool(flag) for flag in flags]
