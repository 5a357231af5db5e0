"""`gemma3n`: the texts of Gemma 3n (Google DeepMind, 2025).

Sources: names of tensors and keys, llama.cpp (src/models/gemma3n.cpp, conversion/gemma.py); the model,
transformers (models/gemma3n).
"""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import DecoderShape
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.windows import windowed_layers
from zigai_gemma.altup import AltUp
from zigai_gemma.gemma3n_layer import attention, feed_forward, laurel
from zigai_gemma.layers import head, leave_out_images, scaled_embedding
from zigai_gemma.per_layer import gated_input, per_layer_inputs
from zigai_gemma.shared_caches import SharedCaches
from zigai_gemma.sparsity import sparsity
from zigai_gemma.windows import two_ropes


def gemma3n(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: several streams, of which a layer computes one and predicts and corrects the others.

    Each layer has an input of its own for each token and a residual of low rank; the last layers read the
    caches of earlier ones; the gate of the first ones is cut below a number of deviations.
    """
    hp, shape = model.hyperparameters, DecoderShape.of(model.hyperparameters)
    window = hp.integer("attention.sliding_window", minimum=1)
    flags, cuts = windowed_layers(hp, shape.layers, 5), sparsity(hp, shape.layers)
    g = GraphBuilder(model.tensors)
    full, local = two_ropes(g, hp, shape.head_dim, context=context)
    caches, altup = SharedCaches(g, hp, shape.layers), AltUp.of(g, hp, shape)

    x = scaled_embedding(g, shape.width)
    width = hp.integer("embedding_length_per_layer_input", minimum=1)
    inputs = per_layer_inputs(g, x, shape.layers, width, shape.epsilon, beyond=0)
    streams = altup.begin(x)
    for number, windowed in enumerate(flags):
        at, span = f"blk.{number}", window if windowed else None
        own, streams = inputs.of(number), altup.predict(streams, at)
        x = altup.active(streams, f"{at}.active")
        h = g.rms_norm(x, f"{at}.attn_norm", shape.epsilon)
        added, cache = laurel(g, h, at, shape.epsilon), caches.of(number, windowed, shape, span)
        rope, pairing = local if windowed else full, model.conventions.rope_pairing
        h = attention(g, h, at, shape, rope, cache, window=span, pairing=pairing)
        if number == shape.layers - 1:  # from here on only the output rows are computed
            h, x, added, own, streams = (
                g.select(each, name=f"{each.name} wanted") for each in (h, x, added, own, streams)
            )
        y = feed_forward(g, h, x, added, at, shape, cuts[number])
        streams = altup.correct(streams, y, at)
        first = altup.scaled(streams, at)
        streams = altup.add_to_others(streams, gated_input(g, first, own, at, shape.epsilon), at)
    head(g, altup.end(streams), shape.epsilon, hp.number("final_logit_softcapping", 30.0, minimum=0.0))
    leave_out_images(g)
    return g.finish()
