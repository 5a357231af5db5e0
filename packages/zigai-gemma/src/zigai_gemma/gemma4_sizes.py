"""The sizes of Gemma 4's layers, of which the two kinds differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.ops.blocks import DecoderShape
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import RopeFrequencies, rope_frequencies
from zigai_core.ops.windows import windowed_layers
from zigai_gemma.windows import local_base, need_base

MOST_LAYERS = 4096


@dataclass(frozen=True)
class ExpertSizes:
    """The number of experts, how many of them a token uses, and the hidden width of each."""

    count: int
    used: int
    hidden: int

    @classmethod
    def of(cls, hp: Hyperparameters) -> ExpertSizes:
        """Returns the sizes from a file. Raises `FormatError` for a key that is missing or out of range."""
        count = hp.integer("expert_count", minimum=1, maximum=65536)
        return cls(
            count,
            hp.integer("expert_used_count", minimum=1, maximum=count),
            hp.integer("expert_feed_forward_length", minimum=1),
        )


@dataclass(frozen=True)
class Gemma4Sizes:
    """Numbers of layers and heads, widths in elements, and the window in tokens.

    `windowed` has a flag for each layer, true for one with a window; `head_dims` the width of a head in full
    layers and in those with a window; `per_layer` the width of each layer's own input, 0 without any.
    `keys_as_values` says whether the values of full layers are the projection to keys; None: the tensors do.
    """

    layers: int
    width: int
    heads: int
    kv_heads: Sequence[int]
    head_dims: tuple[int, int]
    hidden: Sequence[int]
    windowed: Sequence[bool]
    window: int
    per_layer: int
    keys_as_values: bool | None
    epsilon: float

    @classmethod
    def of(cls, hp: Hyperparameters) -> Gemma4Sizes:
        """Returns the sizes from a file.

        Raises `FormatError` for a key that is missing or out of range, and for values of another width than
        their keys, which a layer that reads the values from the keys' projection cannot have.
        """
        layers = hp.integer("block_count", minimum=1, maximum=MOST_LAYERS)
        heads = hp.integer("attention.head_count", minimum=1)
        full = hp.integer("attention.key_length", minimum=2)
        local = hp.integer("attention.key_length_swa", minimum=2)
        for key, dim in (("attention.value_length", full), ("attention.value_length_swa", local)):
            if hp.integer(key, dim) != dim:
                raise hp.error(key, f"is not {dim}, the width of the keys")
        return cls(
            layers=layers,
            width=hp.integer("embedding_length", minimum=1),
            heads=heads,
            kv_heads=hp.integers("attention.head_count_kv", layers, heads, minimum=1),
            head_dims=(full, local),
            hidden=hp.integers("feed_forward_length", layers, minimum=1),
            windowed=windowed_layers(hp, layers, 6),
            window=hp.integer("attention.sliding_window", minimum=1),
            per_layer=hp.integer("embedding_length_per_layer_input"),
            keys_as_values=hp.flag("attention.k_eq_v") if "attention.k_eq_v" in hp else None,
            epsilon=hp.number("attention.layer_norm_rms_epsilon", minimum=0.0),
        )

    def shape(self, number: int) -> DecoderShape:
        """Returns the sizes of a layer."""
        dim = self.head_dims[self.windowed[number]]
        return DecoderShape(
            layers=self.layers,
            width=self.width,
            heads=self.heads,
            kv_heads=self.kv_heads[number],
            head_dim=dim,
            value_dim=dim,
            hidden=self.hidden[number],
            epsilon=self.epsilon,
        )

    def ropes(
        self, g: GraphBuilder, hp: Hyperparameters, *, context: int
    ) -> tuple[RopeFrequencies, RopeFrequencies]:
        """Returns RoPE's frequencies of full layers, and of those with a window.

        The divisors in `rope_freqs.weight` are for full layers alone: of the pairs that are not rotated they
        are so large that these do not turn (transformers, "proportional"). Raises `ShapeError` without them.
        """
        need_base(hp)
        if not all(self.windowed):
            g.shape("rope_freqs.weight")  # which no default fits: llama.cpp
        full, local = self.head_dims
        rotated = hp.integer("rope.dimension_count_swa", local, minimum=2, maximum=local)
        if rotated % 2:
            raise hp.error("rope.dimension_count_swa", f"is {rotated}, but pairs of elements are rotated")
        frequencies = local_base(hp) ** -(np.arange(0, rotated, 2, dtype=np.float64) / rotated)
        return rope_frequencies(g, hp, full, context=context), RopeFrequencies(frequencies.astype(np.float32))
