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
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_core.ops.builder import GraphBuilder

_MOST = 1e6
"""Above every number that a RoPE scaling is known to have: frequencies, betas, magnitudes."""

SCALINGS = ("none", "linear", "yarn", "longrope")

LONGROPE_FACTORS = ("rope_factors_short.weight", "rope_factors_long.weight")
"""LongRoPE's divisors for contexts as long as the model was first trained with, and for longer ones."""


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
    any scaling. `context` is how many positions there will be. What keys mean, and what they mean where one
    is absent, is as llama.cpp reads them (src/llama-model.cpp, src/llama-context.cpp). `UnsupportedError`
    names a scaling there is no code for; `FormatError`, a number that nothing can be computed with.
    """
    rotary = hp.integer("rope.dimension_count", head_dim, minimum=2, maximum=head_dim)
    if rotary % 2:
        raise FormatError(f"rope.dimension_count is {rotary}, but pairs of elements are rotated")
    base = hp.number("rope.freq_base", 10000.0, minimum=1.001)
    kind = hp.text("rope.scaling.type", "linear")
    if kind not in SCALINGS:
        raise UnsupportedError(
            f"RoPE scaling {quote(kind)} (rope.scaling.type) is not supported; "
            f"there are: {', '.join(SCALINGS)}"
        )
    # A factor of 0 stands for none; the second key is of files made before the first was agreed upon.
    old = hp.number("rope.scale_linear", 1.0, minimum=0.0)
    factor = hp.number("rope.scaling.factor", old, minimum=0.0) or 1.0
    magnitude = hp.number("rope.scaling.attn_factor", 1.0, minimum=0.0, maximum=_MOST)
    frequencies = base ** -(np.arange(0, rotary, 2, dtype=np.float64) / rotary)
    with np.errstate(all="ignore"):  # what does not come out finite is refused below
        if kind == "yarn":
            frequencies, stretch = _yarn(frequencies, base, factor, hp)
            magnitude *= stretch
        elif kind != "none":
            frequencies /= factor
        divisors = _divisors(builder, kind, len(frequencies), context, hp)
        if divisors is not None:
            frequencies /= divisors
    if not np.all(np.abs(frequencies) <= _MOST):  # NaN is not
        raise FormatError(
            f"rope.scaling.* and rope.freq_base, {quote(base)}, give RoPE frequencies that are not finite or "
            f"above {_MOST:g} radians a position: the file is damaged"
        )
    return RopeFrequencies(frequencies.astype(np.float32), magnitude)


def _divisors(
    builder: GraphBuilder, kind: str, pairs: int, context: int, hp: Hyperparameters
) -> NDArray[np.float32] | None:
    """What divides the frequencies, float32 `[pairs]`; None where the file has nothing of the kind."""
    if kind == "longrope":
        name = LONGROPE_FACTORS[context > _trained(hp)]
        # Both are read, so that neither counts as a tensor that nobody knows.
        names = {name} | {other for other in LONGROPE_FACTORS if builder.has(other)}
        return {each: _checked(builder, each, pairs) for each in names}[name]
    return _checked(builder, "rope_freqs.weight", pairs) if builder.has("rope_freqs.weight") else None


def _checked(builder: GraphBuilder, name: str, pairs: int) -> NDArray[np.float32]:
    divisors = builder.constant(name, pairs)
    wrong = np.flatnonzero(~(np.isfinite(divisors) & (divisors > 0)))
    if wrong.size:
        raise FormatError(
            f"tensor {name} holds {divisors[wrong[0]]} for pair {wrong[0]}; RoPE's divisors are above 0"
        )
    return divisors


def _trained(hp: Hyperparameters) -> int:
    """The context that the model was first trained with; 0 stands for the one it was last trained with."""
    return hp.integer("rope.scaling.original_context_length", 0) or hp.integer("context_length", minimum=1)


def _yarn(
    frequencies: NDArray[np.float64], base: float, factor: float, hp: Hyperparameters
) -> tuple[NDArray[np.float64], float]:
    """Slow pairs are divided by the factor, fast ones kept, those between mixed: "NTK by parts".

    A pair's place between is how often it turns within the context that the model was first trained with:
    more than `beta_fast` times is fast, less than `beta_slow` times is slow. The magnitude is the file's
    (`yarn_attn_factor`, Hugging Face's `attention_factor`), else 1 + 0.1 ln(factor), which goes with what is
    kept of the fast pairs: none where `yarn_ext_factor` is 0.
    """
    trained = _trained(hp)
    fast = hp.number("rope.scaling.yarn_beta_fast", 32.0, minimum=1e-6, maximum=_MOST)
    slow = hp.number("rope.scaling.yarn_beta_slow", 1.0, minimum=1e-6, maximum=_MOST)
    if hp.number("rope.scaling.yarn_log_multiplier", 0.0):
        raise UnsupportedError(
            "rope.scaling.yarn_log_multiplier: there is no code for YaRN with a magnitude by a multiplier"
        )
    pairs = len(frequencies)

    def pair_that_turns(times: float) -> float:
        return pairs * math.log(trained / (times * 2 * math.pi)) / math.log(base)

    low = max(math.floor(pair_that_turns(fast)), 0)
    high = min(math.ceil(pair_that_turns(slow)), 2 * pairs - 1)
    share = hp.number("rope.scaling.yarn_ext_factor", 1.0, minimum=-_MOST, maximum=_MOST)
    share = 1.0 if share < 0 else share  # -1 stands for "not set"
    kept = 1 - np.clip((np.arange(pairs) - low) / max(high - low, 0.001), 0, 1)
    kept *= share
    usual = 1 + 0.1 * math.log(max(factor, 1.0)) if share else 1.0
    magnitude = hp.number("rope.scaling.yarn_attn_factor", usual, minimum=0.0, maximum=_MOST)
    return frequencies / factor * (1 - kept) + frequencies * kept, magnitude
