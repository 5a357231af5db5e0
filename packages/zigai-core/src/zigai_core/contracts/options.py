"""Options for compiling and for sampling: frozen dataclasses that validate their values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from zigai_core.contracts.errors import SamplingError

KV_DTYPES = ("F16", "F32", "Q8_0")
"""Storage types that the backends of this repository support for the KV cache."""


@dataclass(frozen=True)
class CompileOptions:
    """Sizes that a program is compiled for, and how it computes."""

    context: int = 4096
    """Maximum number of tokens in a sequence."""
    batch: int = 512
    """Maximum number of tokens in a step."""
    page: int = 64
    """Tokens per page of the KV cache."""
    threads: int | None = None
    """Number of threads; None: the value of `ZIGAI_NUM_THREADS`, or one for each available CPU."""
    kv_dtype: str = "F16"
    """Storage type of the KV cache, if the backend has a choice: F16, F32 or Q8_0.

    Q8_0 is int8 with a float16 scale for each 32 elements of a key or value. The numpy reference always
    stores float32, which it first rounds as Q8_0 would if Q8_0 is chosen.
    """

    @property
    def pages(self) -> int:
        """Pages of a sequence of maximum length."""
        return -(-self.context // self.page)


DEFAULT_STEPS = (
    *("logit_bias", "penalties", "dry", "top_n_sigma"),
    *("top_k", "typical_p", "top_p", "min_p", "xtc", "temperature", "mirostat"),
)
"""The steps in core, in their default order."""


@dataclass(frozen=True)
class SamplingOptions:
    """Options for drawing the next token. Raises `SamplingError`, with name and value, for an invalid value.

    Every finite value in range is safe: values that would overflow are limited to the range of float32.

    >>> SamplingOptions(top_p=1.5)
    Traceback (most recent call last):
        ...
    zigai_core.contracts.errors.SamplingError: top_p must be a number within 0..1, not 1.5
    """

    temperature: float = 0.8
    """Divisor of the logits; 0 always takes the most likely token."""
    top_k: int = 40
    """Keeps the k most likely tokens; 0 keeps all."""
    top_p: float = 0.95
    """Keeps the smallest set of most likely tokens whose probabilities add up to p; 1 keeps all."""
    min_p: float = 0.05
    """Keeps tokens with at least p times the probability of the most likely one; 0 keeps all."""
    typical_p: float = 1.0
    """Keeps tokens with a surprise nearest to the entropy, until their probabilities exceed p; 1 is off."""
    xtc_probability: float = 0.0
    """Probability that XTC excludes the most likely tokens in a draw; 0 is off."""
    xtc_threshold: float = 0.1
    """XTC excludes tokens of at least this probability, except the least likely one; above 0.5 is off."""
    dynatemp_range: float = 0.0
    """Varies the temperature with the entropy, from temperature - range to temperature + range; 0 is off."""
    dynatemp_exponent: float = 1.0
    """Exponent of the normalised entropy for `dynatemp_range`."""
    mirostat: int = 0
    """Version of mirostat, 1 or 2, which replaces the steps top_k to xtc; 0 is off."""
    mirostat_tau: float = 5.0
    """Target surprise of mirostat, in bits."""
    mirostat_eta: float = 0.1
    """Learning rate of mirostat."""
    repeat_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens among the last `penalty_last_n`; 1 is off."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit for each time it occurs among the last `penalty_last_n`."""
    presence_penalty: float = 0.0
    """Subtracted once from the logits of tokens among the last `penalty_last_n`."""
    penalty_last_n: int = 64
    """Number of last tokens, prompt included, that the penalties apply to; 0 is off, -1 takes all."""
    dry_multiplier: float = 0.0
    """DRY's penalty for a token that would extend a repeat of `dry_allowed_length` tokens; 0 is off."""
    dry_base: float = 1.75
    """Factor of the penalty for each further token of the repeat."""
    dry_allowed_length: int = 2
    """Repeats of fewer tokens have no penalty."""
    dry_penalty_last_n: int = 64
    """Number of last tokens, prompt included, that are searched for repeats; 0 is off, -1 takes all."""
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    """A repeat ends at a token whose text contains one of these strings."""
    dry_breaker_tokens: frozenset[int] | None = None
    """Ids of those tokens. None: `Model.sampler` finds them; a sampler made without a model has none."""
    top_n_sigma: float = -1.0
    """Keeps tokens whose logit is within n standard deviations of the largest; 0 and below keep all."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits, by token id; -inf excludes a token."""
    seed: int | None = None
    """Seed of the random draws; None takes a new one."""
    steps: tuple[str, ...] = DEFAULT_STEPS
    """The sampling chain: registered names of steps, row steps first. Steps not listed do not run."""

    def __post_init__(self) -> None:
        self._number("temperature", minimum=0)
        self._integer("top_k", minimum=0)
        self._number("top_p", minimum=0, maximum=1)
        self._number("min_p", minimum=0, maximum=1)
        self._number("repeat_penalty", minimum=0)
        if self.repeat_penalty == 0:
            raise SamplingError("repeat_penalty must be above 0 (1 is off), not 0")
        self._number("frequency_penalty")
        self._number("presence_penalty")
        self._integer("penalty_last_n", minimum=-1)
        self._number("typical_p", minimum=0, maximum=1)
        self._number("top_n_sigma")
        self._number("xtc_probability", minimum=0, maximum=1)
        self._number("xtc_threshold", minimum=0, maximum=1)
        self._number("dynatemp_range", minimum=0)
        self._number("dynatemp_exponent", minimum=0)
        self._number("dry_multiplier", minimum=0)
        self._number("dry_base", minimum=1)
        self._integer("dry_allowed_length", minimum=1)
        self._integer("dry_penalty_last_n", minimum=-1)
        self._names("dry_sequence_breakers")
        self._integer("mirostat", minimum=0, maximum=2)
        self._number("mirostat_tau", minimum=0)
        self._number("mirostat_eta", minimum=0)
        breakers: Any = self.dry_breaker_tokens
        if breakers is not None and not isinstance(breakers, (Sequence, Set)):
            raise SamplingError(f"dry_breaker_tokens must be token ids, not {_brief(breakers)}")
        for breaker in breakers or ():
            if isinstance(breaker, bool) or not isinstance(breaker, Integral) or breaker < 0:
                raise SamplingError(f"dry_breaker_tokens must be token ids, not {_brief(breaker)}")
        if self.seed is not None:
            self._integer("seed", minimum=0)
        biases: Any = self.logit_bias
        if not isinstance(biases, Mapping):
            raise SamplingError(f"logit_bias must map token ids to numbers, not {_brief(biases)}")
        for token, bias in biases.items():
            if isinstance(token, bool) or not isinstance(token, Integral) or token < 0:
                raise SamplingError(f"logit_bias must have token ids as keys, not {_brief(token)}")
            if bias != -math.inf and not _is_finite(bias):
                raise SamplingError(
                    f"logit_bias of token {_brief(token)} must be a number or -inf, not {_brief(bias)}"
                )
        self._names("steps")

    @classmethod
    def greedy(cls) -> SamplingOptions:
        """Options that always take the most likely token; of equal ones, the one with the lowest id."""
        return cls(temperature=0.0, top_k=0, top_p=1.0, min_p=0.0)

    def _number(self, name: str, minimum: float = -math.inf, maximum: float = math.inf) -> None:
        value = getattr(self, name)
        if not _is_finite(value) or not minimum <= value <= maximum:
            raise SamplingError(f"{name} must be a number{_span(minimum, maximum)}, not {_brief(value)}")

    def _integer(self, name: str, minimum: int, maximum: float = math.inf) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, Integral) or not minimum <= int(value) <= maximum:
            span = _span(minimum, maximum)
            raise SamplingError(f"{name} must be a whole number{span}, not {_brief(value)}")

    def _names(self, name: str) -> None:
        value: Any = getattr(self, name)
        if not isinstance(value, (tuple, list)) or not all(isinstance(each, str) for each in value):
            raise SamplingError(f"{name} must be a tuple of strings, not {_brief(value)}")


def _is_finite(value: object) -> bool:
    """True if `value` is a number, and finite as a float."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _brief(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python limits the digits of an integer that it converts to text
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _span(minimum: float, maximum: float) -> str:
    if maximum != math.inf:
        return f" within {minimum}..{maximum}"
    return f" of at least {minimum}" if minimum != -math.inf else ""
