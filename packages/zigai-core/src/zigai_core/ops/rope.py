"""RoPE frequencies and their scalings, from a model's hyperparameters and tensors.

Base frequencies: Su et al., 2021, arXiv:2104.09864, section 3.2.2. Scalings: `linear`, Chen et al., 2023,
arXiv:2306.15595; `yarn`, Peng et al., 2023, arXiv:2309.00071; `longrope`, Ding et al., 2024,
arXiv:2402.13753. The scaling of Llama 3 (arXiv:2407.21783) is stored as divisors in `rope_freqs.weight`.
Names of keys and tensors: GGUF's specification.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_core.ops.builder import GraphBuilder

_MOST = 1e6
"""Upper limit of frequencies, betas and magnitudes; all known models are below it."""

SCALINGS = ("none", "linear", "yarn", "longrope")

LONGROPE_FACTORS = ("rope_factors_short.weight", "rope_factors_long.weight")
"""LongRoPE's divisors for contexts up to the original context length, and for longer ones."""


@dataclass(frozen=True, eq=False)
class RopeFrequencies:
    """Radians per position for each rotated pair of a head, float32 `[pairs]`, and the factor of the result.

    See `Rope` for both.
    """

    frequencies: NDArray[np.float32]
    magnitude: float = 1.0


def rope_frequencies(
    builder: GraphBuilder, hp: Hyperparameters, head_dim: int, *, context: int
) -> RopeFrequencies:
    """Returns the RoPE frequencies of a file, from its base, rotated width, scaling and divisors.

    Of a head whose first `d` elements are rotated, pair i has `base^(-2i/d)` radians per position before any
    scaling. `context` is the maximum number of positions. Keys and their defaults are interpreted as by
    llama.cpp (src/llama-model.cpp, src/llama-context.cpp). Raises `UnsupportedError` for a scaling that is
    not supported, `FormatError` for a value that cannot be computed with.
    """
    rotary = hp.integer("rope.dimension_count", head_dim, minimum=2, maximum=head_dim)
    if rotary % 2:
        raise hp.error("rope.dimension_count", f"is {rotary}, but pairs of elements are rotated")
    base = hp.number("rope.freq_base", 10000.0, minimum=1.001)
    # Files of Phi-3 have the factors of LongRoPE and no type.
    longrope = any(builder.has(name) for name in LONGROPE_FACTORS)
    kind = hp.text("rope.scaling.type", "longrope" if longrope else "linear")
    if kind not in SCALINGS:
        raise UnsupportedError(
            f"RoPE scaling {quote(kind)} (rope.scaling.type) is not supported; "
            f"supported are: {', '.join(SCALINGS)}"
        )
    # A factor of 0 means none. Files made before rope.scaling.factor was specified have rope.scale_linear.
    old = hp.number("rope.scale_linear", 1.0, minimum=0.0)
    factor = hp.number("rope.scaling.factor", old, minimum=0.0) or 1.0
    magnitude = hp.number("rope.scaling.attn_factor", 1.0, minimum=0.0, maximum=_MOST)
    frequencies = base ** -(np.arange(0, rotary, 2, dtype=np.float64) / rotary)
    with np.errstate(all="ignore"):  # results that are not finite are refused below
        if kind == "yarn":
            frequencies, stretch = _yarn(frequencies, base, factor, hp)
            magnitude *= stretch
        elif kind != "none":
            frequencies /= factor
        divisors = _divisors(builder, kind, len(frequencies), context, hp)
        if divisors is not None:
            frequencies /= divisors
    if not np.all(np.abs(frequencies) <= _MOST):  # False for NaN, too
        raise FormatError(
            f"rope.scaling.* and rope.freq_base, {quote(base)}, give RoPE frequencies that are not finite or "
            f"above {_MOST:g} radians a position: the file is damaged"
        )
    return RopeFrequencies(frequencies.astype(np.float32), magnitude)


def _divisors(
    builder: GraphBuilder, kind: str, pairs: int, context: int, hp: Hyperparameters
) -> NDArray[np.float32] | None:
    """Returns the divisors of the frequencies, float32 `[pairs]`; None if the file has none."""
    if kind == "longrope":
        factors = [_checked(builder, name, pairs) for name in LONGROPE_FACTORS]
        return factors[context > _original_context(hp)]
    return _checked(builder, "rope_freqs.weight", pairs) if builder.has("rope_freqs.weight") else None


def _checked(builder: GraphBuilder, name: str, pairs: int) -> NDArray[np.float32]:
    divisors = builder.constant(name, pairs)
    wrong = np.flatnonzero(~(np.isfinite(divisors) & (divisors > 0)))
    if wrong.size:
        raise FormatError(
            f"tensor {name} has {divisors[wrong[0]]} for pair {wrong[0]}; RoPE's divisors must be finite and "
            "above 0: the file is damaged"
        )
    return divisors


def _original_context(hp: Hyperparameters) -> int:
    """Returns the original context length; 0 means that it is the context length."""
    return hp.integer("rope.scaling.original_context_length", 0) or hp.integer("context_length", minimum=1)


def _yarn(
    frequencies: NDArray[np.float64], base: float, factor: float, hp: Hyperparameters
) -> tuple[NDArray[np.float64], float]:
    """Returns YaRN's frequencies, by its "NTK-by-parts" interpolation, and its magnitude.

    Pairs that rotate more than `beta_fast` times within the original context length keep their frequency;
    those that rotate less than `beta_slow` times are divided by `factor`; in between, both are mixed. The
    magnitude is `yarn_attn_factor` (Hugging Face's `attention_factor`) if the file has it, otherwise
    1 + 0.1 ln(factor), divided by 1 + 0.1 m ln(factor) with the multiplier m of `yarn_log_multiplier`
    (Hugging Face's `mscale_all_dim`, beside an `mscale` of 1). `yarn_ext_factor` is the weight of the
    unscaled frequencies: if it is 0, all pairs are divided, and the magnitude is 1 by default. The first and
    the last pair of those in between are whole numbers, unless `yarn_truncate` (Hugging Face's `truncate`) is
    false, as in gpt-oss.
    """
    original = _original_context(hp)
    fast = hp.number("rope.scaling.yarn_beta_fast", 32.0, minimum=1e-6, maximum=_MOST)
    slow = hp.number("rope.scaling.yarn_beta_slow", 1.0, minimum=1e-6, maximum=_MOST)
    pairs = len(frequencies)

    def pair_that_rotates(times: float) -> float:
        return pairs * math.log(original / (times * 2 * math.pi)) / math.log(base)

    low, high = pair_that_rotates(fast), pair_that_rotates(slow)
    if hp.flag("rope.scaling.yarn_truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * pairs - 1)
    share = hp.number("rope.scaling.yarn_ext_factor", 1.0, minimum=-_MOST, maximum=_MOST)
    share = 1.0 if share < 0 else share  # -1 means "not set"
    kept = 1 - np.clip((np.arange(pairs) - low) / max(high - low, 0.001), 0, 1)
    kept *= share
    growth = 0.1 * math.log(max(factor, 1.0))
    multiplier = hp.number("rope.scaling.yarn_log_multiplier", 0.0, minimum=0.0, maximum=_MOST)
    usual = (1 + growth) / (1 + multiplier * growth) if share else 1.0
    magnitude = hp.number("rope.scaling.yarn_attn_factor", usual, minimum=0.0, maximum=_MOST)
    return frequencies / factor * (1 - kept) + frequencies * kept, magnitude
