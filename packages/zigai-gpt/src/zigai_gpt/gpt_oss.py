"""`gpt-oss`: gpt-oss-20b and gpt-oss-120b (OpenAI, 2025, arXiv:2508.10925).

Sources: names of tensors and defaults, llama.cpp (src/models/openai-moe.cpp); the model, transformers
(models/gpt_oss).
"""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph, Value
from zigai_core.ops.blocks import DecoderShape, projections
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import rope_frequencies
from zigai_core.ops.windows import windowed_layers
from zigai_gpt.experts import experts


def gpt_oss(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: layers with a sliding window alternate with full ones, and each head has a sink.

    YaRN's bounds are not rounded unless the file says so, as the models were trained; GGUF has no key for it.
    """
    hp = model.hyperparameters
    mixture, shape = experts(hp), DecoderShape.of(hp)
    if not hp.flag("rope.scaling.yarn_truncate", False):
        hp = hp.replaced(rope__scaling__yarn_truncate=False)
    window = hp.integer("attention.sliding_window", minimum=0) or None
    flags = windowed_layers(hp, shape.layers, 2)
    dim, pairing = shape.head_dim, model.conventions.rope_pairing

    g = GraphBuilder(model.tensors)
    rope = rope_frequencies(g, hp, dim, context=context)

    def rotated(x: Value, name: str) -> Value:
        return g.rope(x, dim, rope.frequencies, pairing, magnitude=rope.magnitude, name=name)

    x = g.embedding("token_embd", shape.width)
    for layer, flag in enumerate(flags):
        at = f"blk.{layer}"
        q, k, v = projections(g, g.rms_norm(x, f"{at}.attn_norm", shape.epsilon), at, shape)
        h = g.attention(
            rotated(q, f"{at}.attn_q_rope"),
            rotated(k, f"{at}.attn_k_rope"),
            v,
            state=at,
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            head_dim=dim,
            value_dim=shape.value_dim,
            window=window if flag else None,
            sinks=f"{at}.attn_sinks",
            name=f"{at}.attention",
        )
        if layer == shape.layers - 1:  # from here on only the output rows are computed
            h, x = g.select(h, name=f"{at}.attn_wanted"), g.select(x, name=f"{at}.wanted")
        x = g.add(x, g.linear(h, f"{at}.attn_output", shape.width), name=f"{at}.attn_residual")
        h = g.rms_norm(x, f"{at}.post_attention_norm", shape.epsilon)  # before the experts, despite its name
        x = g.add(x, mixture(g, h, at), name=f"{at}.ffn_residual")
    x = g.rms_norm(x, "output_norm", shape.epsilon)
    g.output("hidden", x)
    g.output("logits", g.linear(x, "output", g.shape("output.weight")[0], name="logits"))
    return g.finish()
