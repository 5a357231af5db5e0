"""`gemma4`: the texts of Gemma 4 (Google DeepMind, 2026).

Sources: names of tensors and keys, llama.cpp (src/models/gemma4.cpp, conversion/gemma.py); the model,
transformers (models/gemma4).
"""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.builder import GraphBuilder
from zigai_gemma.gemma4_attention import attention
from zigai_gemma.gemma4_feed_forward import feed_forward
from zigai_gemma.gemma4_sizes import Gemma4Sizes
from zigai_gemma.layers import head, leave_out_images, scaled_embedding
from zigai_gemma.per_layer import gated_input, per_layer_inputs
from zigai_gemma.shared_caches import SharedCaches


def gemma4(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: layers with a window and full ones, of which each kind has its heads and its RoPE.

    Values have a norm without weights. In full layers they are the projection to keys if `attention.k_eq_v`
    says so; without that key, if there is no `attn_v`. The last layers read the cache of an earlier one. Each
    layer may have an input of its own for each token, a mixture of experts beside its feed-forward layer, and
    a factor of its output.
    """
    hp = model.hyperparameters
    sizes = Gemma4Sizes.of(hp)
    g = GraphBuilder(model.tensors)
    ropes = sizes.ropes(g, hp, context=context)
    caches, pairing = SharedCaches(g, hp, sizes.layers), model.conventions.rope_pairing

    x = scaled_embedding(g, sizes.width)
    inputs = per_layer_inputs(g, x, sizes.layers, sizes.per_layer, sizes.epsilon) if sizes.per_layer else None
    for number, windowed in enumerate(sizes.windowed):
        at, shape = f"blk.{number}", sizes.shape(number)
        own = None if inputs is None else inputs.of(number)
        window = sizes.window if windowed else None
        cache = caches.of(number, windowed, shape, window)
        h = g.rms_norm(x, f"{at}.attn_norm", shape.epsilon)
        h = attention(
            g, h, at, shape, ropes[windowed], cache, sizes.keys_as_values, window=window, pairing=pairing
        )
        if number == sizes.layers - 1:  # from here on only the output rows are computed
            h, x = g.select(h, name=f"{at}.attn_wanted"), g.select(x, name=f"{at}.wanted")
            own = None if own is None else g.select(own, name=f"{at}.input_wanted")
        h = g.linear(h, f"{at}.attn_output", shape.width)
        x = g.add(x, g.rms_norm(h, f"{at}.post_attention_norm", shape.epsilon), name=f"{at}.attn_residual")
        x = g.add(x, feed_forward(g, x, at, shape, hp), name=f"{at}.ffn_residual")
        if own is not None:
            x = g.add(x, gated_input(g, x, own, at, shape.epsilon), name=f"{at}.input_residual")
        if g.has(f"{at}.layer_output_scale.weight"):
            factor = float(g.constant(f"{at}.layer_output_scale.weight", 1)[0])
            x = g.scale(x, factor, name=f"{at}.scaled")
    head(g, x, sizes.epsilon, hp.number("final_logit_softcapping", 0.0, minimum=0.0))
    leave_out_images(g)
    return g.finish()
