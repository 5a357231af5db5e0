"""`deepseek2`: DeepSeek-V2, V3 and R1, Kimi K2, GLM-4.7-Flash.

Sources: DeepSeek-V2, DeepSeek-AI, 2024 (arXiv:2405.04434); DeepSeek-V3, DeepSeek-AI, 2024
(arXiv:2412.19437); names, keys and defaults of files, llama.cpp (src/models/deepseek2.cpp,
conversion/deepseek.py); the models, transformers (models/deepseek_v2, deepseek_v3, glm4_moe_lite).
"""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import head
from zigai_core.ops.builder import GraphBuilder
from zigai_deepseek.experts import feed_forward
from zigai_deepseek.latent_attention import LatentShape, latent_attention
from zigai_deepseek.rope import latent_rope


def deepseek2(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: multi-head latent attention, leading dense layers, then mixtures of experts.

    The last `nextn_predict_layers` of `block_count` layers are left out: they guess further tokens.
    """
    hp = model.hyperparameters
    width = hp.integer("embedding_length", minimum=1)
    layers = hp.integer("block_count", minimum=1, maximum=4096)
    ahead = hp.integer("nextn_predict_layers", 0, maximum=layers - 1)
    layers -= ahead
    epsilon = hp.number("attention.layer_norm_rms_epsilon", minimum=0.0)

    g = GraphBuilder(model.tensors)
    shape = LatentShape.of(hp)
    rope = latent_rope(g, hp, shape.rotated, context=context)
    block = feed_forward(g, hp, layers)
    for layer in range(layers, layers + ahead):
        g.leave_out(f"blk.{layer}.*", "layers that guess several tokens ahead are not computed")
    x = g.embedding("token_embd", width)
    for layer in range(layers):
        at = f"blk.{layer}"
        h = g.rms_norm(x, f"{at}.attn_norm", epsilon)
        last = layer == layers - 1
        h = latent_attention(g, h, at, shape, rope, pairing=model.conventions.rope_pairing, last=last)
        if last:  # from here on only the output rows are computed
            x = g.select(x, name=f"{at}.wanted")
        x = g.add(x, g.linear(h, f"{at}.attn_output", width), name=f"{at}.attn_residual")
        h = g.rms_norm(x, f"{at}.ffn_norm", epsilon)
        x = g.add(x, block(g, h, layer), name=f"{at}.ffn_residual")
    head(g, g.rms_norm(x, "output_norm", epsilon))
    return g.finish()
