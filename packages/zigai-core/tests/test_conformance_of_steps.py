"""The conformance suite on every built-in sampler step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.options import DEFAULT_STEPS, SamplingOptions
from zigai_core.engine.sampling import BUILT_IN
from zigai_core.testing.sampler import Golden, SamplerConformance

OFF = SamplingOptions(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)
Floats = NDArray[np.float64]


def weights(logits: NDArray[Any]) -> Floats:
    return np.asarray(np.exp(logits.astype(np.float64) - logits.astype(np.float64).max()))


def softmax(logits: NDArray[Any]) -> Floats:
    return np.asarray(weights(logits) / weights(logits).sum())


def kept(logits: NDArray[Any], chosen: NDArray[Any]) -> Floats:
    """The distribution of the tokens at these places, or where True."""
    result = np.zeros(len(logits))
    result[chosen] = softmax(logits[chosen])
    return result


def limited(logits: Floats) -> Floats:
    """The distribution of logits after they are stored in float32."""
    most = float(np.finfo(np.float32).max)
    stored = np.where(logits > -np.inf, np.clip(logits, -most, most), -np.inf).astype(np.float32)
    return kept(stored, stored > -np.inf)


class TestLogitBias(SamplerConformance):
    factory, name, smallest = BUILT_IN["logit_bias"], "logit_bias", 9
    on = (SamplingOptions(logit_bias={0: 1.5, 3: -1e30, 1: -math.inf}), SamplingOptions(logit_bias={0: 3e38}))
    off = (OFF,)
    goldens = (
        Golden(
            [0.0] * 4, SamplingOptions(logit_bias={0: math.log(2), 1: -math.inf}), {0: 0.5, 2: 0.25, 3: 0.25}
        ),
    )

    @staticmethod
    def definition(logits: Any, options: SamplingOptions, history: Sequence[int]) -> Floats:
        biases = np.zeros(len(logits))
        biases[list(options.logit_bias)] = list(options.logit_bias.values())
        return limited(logits.astype(np.float64) + biases)


class TestPenalties(SamplerConformance):
    factory, name = BUILT_IN["penalties"], "penalties"
    on = (
        SamplingOptions(repeat_penalty=1.3),
        SamplingOptions(repeat_penalty=0.5, frequency_penalty=0.7, presence_penalty=-0.2, penalty_last_n=4),
        SamplingOptions(presence_penalty=1e300, penalty_last_n=-1),
    )
    off = (OFF, SamplingOptions(repeat_penalty=2.0, penalty_last_n=0))
    goldens = (
        Golden(
            [math.log(4)] * 4,
            SamplingOptions(repeat_penalty=2.0),
            {0: 1 / 6, 1: 1 / 6, 2: 1 / 3, 3: 1 / 3},
            (0, 1, 1),
        ),
    )

    @staticmethod
    def definition(logits: Any, options: SamplingOptions, history: Sequence[int]) -> Floats:
        last = options.penalty_last_n
        recent, result = list(history)[-last:] if last > 0 else list(history), logits.astype(np.float64)
        for token in set(recent):
            factor = options.repeat_penalty
            result[token] = result[token] / factor if result[token] > 0 else result[token] * factor
            result[token] -= recent.count(token) * options.frequency_penalty + options.presence_penalty
        return limited(result)


class TestDry(SamplerConformance):
    factory, name = BUILT_IN["dry"], "dry"
    on = (
        SamplingOptions(dry_multiplier=0.8),
        SamplingOptions(dry_multiplier=2.0, dry_base=3.0, dry_allowed_length=1, dry_penalty_last_n=-1),
        SamplingOptions(dry_multiplier=1.0, dry_breaker_tokens=frozenset({2}), dry_allowed_length=1),
    )
    off = (OFF, SamplingOptions(dry_multiplier=1.0, dry_penalty_last_n=0))
    goldens = (  # 0 and 1 came before 2 already, so 1.0 · 1.75^(2 - 2) is subtracted from its logit
        Golden(
            [0.0, 0.0, 1.0],
            SamplingOptions(dry_multiplier=1.0),
            dict.fromkeys(range(3), 1 / 3),
            (0, 1, 2, 0, 1),
        ),
    )


class TestTopNSigma(SamplerConformance):
    factory, name = BUILT_IN["top_n_sigma"], "top_n_sigma"
    on = tuple(SamplingOptions(top_n_sigma=n) for n in (0.5, 1.0, 2.0))
    off = (OFF, SamplingOptions(top_n_sigma=0.0))

    @staticmethod
    def definition(logits: Any, options: SamplingOptions, history: Sequence[int]) -> Floats:
        wide = logits.astype(np.float64)
        return kept(logits, wide >= wide.max() - options.top_n_sigma * wide.std())


class TestTopK(SamplerConformance):
    factory, name = BUILT_IN["top_k"], "top_k"
    on = tuple(SamplingOptions(top_k=k) for k in (1, 2, 40, 5000))
    off = (OFF, SamplingOptions(top_k=40, mirostat=1))

    @staticmethod
    def definition(logits: Any, options: SamplingOptions, history: Sequence[int]) -> Floats:
        return kept(logits, np.argsort(-logits, kind="stable")[: options.top_k])


class TestTypicalP(SamplerConformance):
    factory, name = BUILT_IN["typical_p"], "typical_p"
    on = tuple(SamplingOptions(typical_p=p) for p in (0.2, 0.5, 0.95))
    off = (OFF, SamplingOptions(typical_p=0.5, mirostat=2))

    @staticmethod
    def definition(logits: Any, options: SamplingOptions, history: Sequence[int]) -> Floats:
        p = softmax(logits)
        surprise = -np.log(np.maximum(p, 1e-300))
        nearest = np.argsort(np.abs(surprise - (p * surprise).sum()).astype(np.float32), kind="stable")
        total = np.cumsum(weights(logits)[nearest])
        return kept(
            logits, nearest[: int(np.searchsorted(total, options.typical_p * total[-1], "right")) + 1]
        )


class TestTopP(SamplerConformance):
    factory, name = BUILT_IN["top_p"], "top_p"
    on = tuple(SamplingOptions(top_p=p) for p in (0.0, 0.35, 0.95))
    off = (OFF, SamplingOptions(top_p=0.5, mirostat=2))
    goldens = (Golden(np.log([0.5, 0.3, 0.2]).tolist(), SamplingOptions(top_p=0.6), {0: 0.625, 1: 0.375}),)

    @staticmethod
    def definition(logits: Any, options: SamplingOptions, history: Sequence[int]) -> Floats:
        order = np.argsort(-logits, kind="stable")
        total = np.cumsum(weights(logits[order]))
        return kept(logits, order[: int(np.searchsorted(total, options.top_p * total[-1])) + 1])


class TestMinP(SamplerConformance):
    factory, name = BUILT_IN["min_p"], "min_p"
    on = tuple(SamplingOptions(min_p=p) for p in (0.001, 0.3, 1.0))
    off = (OFF, SamplingOptions(min_p=0.5, mirostat=2))

    @staticmethod
    def definition(logits: Any, options: SamplingOptions, history: Sequence[int]) -> Floats:
        return kept(logits, logits >= logits.max() + np.float32(math.log(options.min_p)))


class TestXtc(SamplerConformance):
    factory, name = BUILT_IN["xtc"], "xtc"
    on = tuple(SamplingOptions(xtc_probability=p, xtc_threshold=0.1) for p in (0.5, 1.0))
    off = (
        OFF,
        SamplingOptions(xtc_probability=1.0, xtc_threshold=0.6),
        SamplingOptions(xtc_probability=0.5, mirostat=1),
    )
    goldens = (  # of the two above the threshold, the likelier one goes; the draw is always below 1
        Golden(
            np.log([0.5, 0.3, 0.2]).tolist(),
            SamplingOptions(xtc_probability=1.0, xtc_threshold=0.25),
            {1: 0.6, 2: 0.4},
        ),
    )


class TestXtcInEveryDraw(SamplerConformance):
    factory, name = BUILT_IN["xtc"], "xtc"
    on = tuple(SamplingOptions(xtc_probability=1.0, xtc_threshold=t) for t in (0.05, 0.1, 0.3))

    @staticmethod
    def definition(logits: Any, options: SamplingOptions, history: Sequence[int]) -> Floats:
        order = np.argsort(-logits, kind="stable")
        top = int((softmax(logits)[order] >= options.xtc_threshold).sum())
        return kept(logits, order[max(0, top - 1) :])


class TestTemperature(SamplerConformance):
    factory, name = BUILT_IN["temperature"], "temperature"
    on = tuple(SamplingOptions(temperature=t) for t in (0.0, 1e-40, 0.3, 1.7, 1e300))
    on += (SamplingOptions(temperature=1.0, dynatemp_range=0.5, dynatemp_exponent=1.3),)
    off = (OFF,)
    goldens = (Golden([0.0, math.log(2)], SamplingOptions(temperature=0.5), {0: 0.2, 1: 0.8}),)


class TestMirostat1(SamplerConformance):
    factory, name = BUILT_IN["mirostat"], "mirostat"
    on = tuple(SamplingOptions(mirostat=1, mirostat_tau=tau, mirostat_eta=0.3) for tau in (0.5, 3.0))
    off = (OFF,)
    # Probabilities proportional to 1/r²: Zipf's law with s = 2. Of N = 8, at most 2τ bits of surprise have
    # k = (2^2τ · (s - 1) / (1 - N^(1 - s)))^(1/s) = (2^2τ / 0.875)^½ tokens: 1.85 at τ = 0.75, 4.28 at τ = 2.
    goldens = tuple(
        Golden(
            [-2 * math.log(rank) for rank in range(1, 9)],
            SamplingOptions(mirostat=1, mirostat_tau=tau),
            {rank - 1: rank**-2 / sum(r**-2 for r in range(1, k + 1)) for rank in range(1, k + 1)},
        )
        for tau, k in ((0.75, 1), (2.0, 4))
    )


class TestMirostat2(SamplerConformance):
    factory, name = BUILT_IN["mirostat"], "mirostat"
    on = tuple(SamplingOptions(mirostat=2, mirostat_tau=tau, mirostat_eta=0.3) for tau in (0.5, 3.0))
    off = (OFF,)

    @staticmethod
    def definition(logits: Any, options: SamplingOptions, history: Sequence[int]) -> Floats:
        p = softmax(logits)
        chosen = p >= 2.0 ** (-2 * options.mirostat_tau)
        return kept(logits, chosen if chosen.any() else logits.argmax(keepdims=True))


def test_every_built_in_step_is_tested() -> None:
    tested = {
        value.name for value in globals().values() if isinstance(value, type) and hasattr(value, "name")
    }
    assert tested >= set(BUILT_IN) == set(DEFAULT_STEPS)
