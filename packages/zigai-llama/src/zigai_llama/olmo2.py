"""`olmo2`: OLMo 2 (2025, arXiv:2501.00656) and Olmo 3 (2025, arXiv:2512.13961)."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import DecoderShape
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import rope_frequencies
from zigai_core.ops.windows import windowed_layers
from zigai_llama.norms_after import Positions, norms_after


def olmo2(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: norms after the blocks, and norms of the whole rows of queries and keys.

    With `attention.sliding_window` (Olmo 3), three layers with that window alternate with a full one, unless
    `attention.sliding_window_pattern` says otherwise. Their RoPE has no scaling, and the base
    `rope.freq_base_swa` if the file has it. Source: llama.cpp (src/models/olmo2.cpp), which reads that base
    and computes with the other, and transformers (models/olmo3).
    """
    hp, shape = model.hyperparameters, DecoderShape.of(model.hyperparameters)
    g = GraphBuilder(model.tensors)
    window = hp.integer("attention.sliding_window", 0) or None
    full = Positions(rope_frequencies(g, hp, shape.head_dim, context=context), None)
    layers = [full] * shape.layers
    base = hp.number("rope.freq_base_swa", 0.0, minimum=0.0) or hp.number("rope.freq_base", 10000.0)
    if base < 1.001:  # the lower limit of `rope_frequencies`, also without a window
        raise hp.error("rope.freq_base_swa", f"is {base}, but must be 1.001 or more, or 0 for rope.freq_base")
    if window is not None:
        unscaled = hp.replaced(rope__freq_base=base, rope__scaling__type="none")
        local = Positions(rope_frequencies(g, unscaled, shape.head_dim, context=context), window)
        layers = [local if flag else full for flag in windowed_layers(hp, shape.layers, 4)]
    return norms_after(g, model, shape, layers, qk_norm="row")
