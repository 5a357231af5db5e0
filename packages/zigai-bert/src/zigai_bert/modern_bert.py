"""`modern-bert`: ModernBERT (Warner et al., 2024, arXiv:2412.13663)."""

from __future__ import annotations

from zigai_bert.layers import attention, embedding, encoder_shape
from zigai_bert.outputs import outputs
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import quote
from zigai_core.contracts.graph import Graph
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import Activation
from zigai_core.ops.rope import rope_frequencies
from zigai_core.ops.windows import windowed_layers

_ACTIVATIONS: dict[str, Activation] = {"gelu": "gelu", "geglu": "gelu", "silu": "silu", "swiglu": "silu"}


def modern_bert(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: a pre-norm encoder with GeGLU, of whose layers most have a symmetric window.

    Tokens see those that are at most half a window away (`local_attention` of transformers,
    `LLAMA_SWA_TYPE_SYMMETRIC` of llama.cpp); such layers have a RoPE base of their own, to which no scaling
    applies. The first layer has no norm before attention. Defaults are those of llama.cpp
    (src/models/modern-bert.cpp).
    """
    hp, shape = model.hyperparameters, encoder_shape(model.hyperparameters)
    size = hp.integer("attention.sliding_window", 0)
    flags = [size > 0 and flag for flag in windowed_layers(hp, shape.layers, 3, full_first=True)]
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
        at = f"blk.{number}"
        rope, window = (local, size // 2 + 1) if flag else (full, None)
        first = number == 0 and not g.has(f"{at}.attn_norm.weight")
        h = x if first else g.layer_norm(x, f"{at}.attn_norm", shape.epsilon)
        h = attention(g, h, at, shape, rope=rope, pairing=model.conventions.rope_pairing, window=window)
        x = g.add(x, h, name=f"{at}.attn_residual")
        h = g.linear(g.layer_norm(x, f"{at}.ffn_norm", shape.epsilon), f"{at}.ffn_up", 2 * shape.hidden)
        gate = g.columns(h, 0, shape.hidden, name=f"{at}.ffn_gate")
        up = g.columns(h, shape.hidden, shape.hidden, name=f"{at}.ffn_value")
        h = g.gated_activation(gate, up, activation=_ACTIVATIONS[act], name=f"{at}.ffn_act")
        x = g.add(x, g.linear(h, f"{at}.ffn_down", shape.width), name=f"{at}.ffn_residual")
    x = g.layer_norm(x, "output_norm", shape.epsilon)
    outputs(g, x, hp, shape.epsilon, activation="gelu", pooling="mean")
    return g.finish()
