"""RoPE of latent attention, and the scale of scores that YaRN changes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import rope_frequencies

MULTIPLIER = "rope.scaling.yarn_log_multiplier"
MAGNITUDE = "rope.scaling.yarn_attn_factor"


@dataclass(frozen=True, eq=False)
class LatentRope:
    """Radians per position for each pair, the factor of what is rotated, and that of all scores."""

    frequencies: NDArray[np.float32]
    magnitude: float
    score: float


def latent_rope(g: GraphBuilder, hp: Hyperparameters, rotated: int, *, context: int) -> LatentRope:
    """Returns RoPE for the `rotated` elements of a head, by the keys of `rope_frequencies`.

    With YaRN, scores are multiplied by m², where m = 1 + 0.1 s ln(factor) and s is Hugging Face's
    `mscale_all_dim` (transformers, models/deepseek_v3, `yarn_apply_mscale`). Files of this architecture have
    s / 10 as `rope.scaling.yarn_log_multiplier`; with it, the factor of what is rotated is 1 unless
    `rope.scaling.yarn_attn_factor` says otherwise, since `mscale` is equal in all models that are known
    (llama.cpp, src/llama-context.cpp).
    """
    share = 10 * hp.number(MULTIPLIER, 0.0, minimum=0.0, maximum=1e3)
    factor = hp.number("rope.scaling.factor", 1.0, minimum=0.0) or 1.0
    is_yarn = hp.text("rope.scaling.type", "linear") == "yarn"
    score = (1 + 0.1 * share * math.log(max(factor, 1.0))) ** 2 if is_yarn else 1.0
    known = hp.replaced(rope__dimension_count=rotated, rope__scaling__yarn_log_multiplier=0.0)
    if share and MAGNITUDE not in hp:
        known = known.replaced(rope__scaling__yarn_attn_factor=1.0)
    rope = rope_frequencies(g, known, rotated, context=context)
    return LatentRope(rope.frequencies, rope.magnitude, score)
