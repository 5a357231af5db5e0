"""RoPE frequencies and their scalings, read off a model's hyperparameters and tensors.

Source of the base frequencies: Su et al., 2021, arXiv:2104.09864, section 3.2.2. Linear scaling: Chen et
al., 2023, arXiv:2306.15595. Baked divisors (`rope_freqs.weight`) carry the frequency-dependent scaling of
Llama 3 (Meta, "The Llama 3 Herd of Models", arXiv:2407.21783), one divisor a pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zigai_core.builder import GraphBuilder
from zigai_core.descriptor import Hyperparameters
from zigai_core.errors import FormatError, UnsupportedError


@dataclass(frozen=True, eq=False)
class RopeFrequencies:
    """Radians per position for each rotated pair of a head, and the factor that stretches the result."""

    frequencies: NDArray[np.float32]
    magnitude: float = 1.0


def rope_frequencies(builder: GraphBuilder, hp: Hyperparameters, head_dim: int) -> RopeFrequencies:
    """The frequencies a file asks for: base, rotated width, scaling, and divisors where it has some.

    Pair i of a head whose first `d` elements are rotated turns by `base^(-2i/d)` radians a position, divided
    by the scaling factor and by the pair's divisor. `UnsupportedError` names a scaling there is no code for.
    """
    rotary = hp.integer("rope.dimension_count", head_dim, minimum=2, maximum=head_dim)
    if rotary % 2:
        raise FormatError(f"rope.dimension_count is {rotary}, but pairs of elements are rotated")
    base = hp.number("rope.freq_base", 10000.0, minimum=1e-6)
    kind = hp.text("rope.scaling.type", "linear" if "rope.scale_linear" in hp else "none")
    exponents = np.arange(0, rotary, 2, dtype=np.float64) / rotary
    frequencies = base**-exponents
    if kind == "linear":
        factor = hp.number("rope.scaling.factor", hp.number("rope.scale_linear", 1.0), minimum=0.0)
        frequencies /= factor or 1.0
    elif kind != "none":
        raise UnsupportedError(
            f"RoPE scaling {kind!r} (rope.scaling.type) is not supported; supported are: none, linear"
        )
    if builder.has("rope_freqs.weight"):
        frequencies /= builder.constant("rope_freqs.weight", len(frequencies))
    return RopeFrequencies(frequencies.astype(np.float32))
