"""RoPE frequencies and their scalings, read off a model's hyperparameters and tensors.

Base frequencies: Su et al., 2021, arXiv:2104.09864, section 3.2.2. Scalings: `linear`, Chen et al., 2023,
arXiv:2306.15595; `yarn`, Peng et al., 2023, arXiv:2309.00071; `longrope`, Ding et al., 2024,
arXiv:2402.13753. Divisors baked into `rope_freqs.weight` carry the scaling of Llama 3 (arXiv:2407.21783).
Names of keys and tensors: GGUF's specification.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.contracts.errors import FormatError, UnsupportedError
from zigai_core.ops.builder import GraphBuilder

SCALINGS = ("none", "linear", "yarn", "longrope")


@dataclass(frozen=True, eq=False)
class RopeFrequencies:
    """Radians per position for each rotated pair of a head, and the factor that stretches the result."""

    frequencies: NDArray[np.float32]
    magnitude: float = 1.0


def rope_frequencies(
    builder: GraphBuilder, hp: Hyperparameters, head_dim: int, *, context: int
) -> RopeFrequencies:
    """The frequencies a file asks for: base, rotated width, scaling, and divisors where it has some.

    Pair i of a head whose first `d` elements are rotated turns by `base^(-2i/d)` radians a position before
    any scaling. `context` is how many positions there will be. `UnsupportedError` names a scaling there is
    no code for.
    """
    rotary = hp.integer("rope.dimension_count", head_dim, minimum=2, maximum=head_dim)
    if rotary % 2:
        raise FormatError(f"rope.dimension_count is {rotary}, but pairs of elements are rotated")
    base = hp.number("rope.freq_base", 10000.0, minimum=1.001)
    kind = hp.text("rope.scaling.type", "linear" if "rope.scale_linear" in hp else "none")
    if kind not in SCALINGS:
        raise UnsupportedError(
            f"RoPE scaling {kind!r} (rope.scaling.type) is not supported; there are: {', '.join(SCALINGS)}"
        )
    frequencies = base ** -(np.arange(0, rotary, 2, dtype=np.float64) / rotary)
    factor = hp.number("rope.scaling.factor", hp.number("rope.scale_linear", 1.0), minimum=0.0) or 1.0
    magnitude = 1.0
    if kind == "linear":
        frequencies /= factor
    elif kind == "yarn":
        frequencies, magnitude = _yarn(frequencies, base, factor, hp)
    elif kind == "longrope":
        trained = hp.integer("rope.scaling.original_context_length", hp.integer("context_length"), minimum=1)
        name = "rope_factors_long.weight" if context > trained else "rope_factors_short.weight"
        frequencies /= builder.constant(name, len(frequencies))
        magnitude = hp.number("rope.scaling.attn_factor", 1.0, minimum=0.0)
    if builder.has("rope_freqs.weight"):
        frequencies /= builder.constant("rope_freqs.weight", len(frequencies))
    return RopeFrequencies(frequencies.astype(np.float32), magnitude)


def _yarn(
    frequencies: NDArray[np.float64], base: float, factor: float, hp: Hyperparameters
) -> tuple[NDArray[np.float64], float]:
    """Slow pairs are divided by the factor, fast ones kept, those between mixed: "NTK by parts".

    A pair's place between is how often it turns within the context that the model was first trained with:
    more than `beta_fast` times is fast, less than `beta_slow` times is slow.
    """
    trained = hp.integer("rope.scaling.original_context_length", hp.integer("context_length"), minimum=1)
    fast = hp.number("rope.scaling.yarn_beta_fast", 32.0, minimum=1e-6)
    slow = hp.number("rope.scaling.yarn_beta_slow", 1.0, minimum=1e-6)
    pairs = len(frequencies)

    def pair_that_turns(times: float) -> float:
        return pairs * math.log(trained / (times * 2 * math.pi)) / math.log(base)

    low = max(math.floor(pair_that_turns(fast)), 0)
    high = min(math.ceil(pair_that_turns(slow)), 2 * pairs - 1)
    kept = 1 - np.clip((np.arange(pairs) - low) / max(high - low, 0.001), 0, 1)
    kept *= hp.number("rope.scaling.yarn_ext_factor", 1.0)
    magnitude = hp.number("rope.scaling.yarn_attn_factor", 1.0) * (1 + 0.1 * math.log(max(factor, 1.0)))
    return frequencies / factor * (1 - kept) + frequencies * kept, magnitude
