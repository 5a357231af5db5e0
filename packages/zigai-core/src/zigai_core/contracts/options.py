"""Options of compiling and of sampling, as frozen dataclasses that check themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from zigai_core.contracts.errors import SamplingError

KV_DTYPES = ("F16", "F32", "Q8_0")
"""How the backends of this repository may keep keys and values."""


@dataclass(frozen=True)
class CompileOptions:
    """What a program must hold; its memory is planned for this when it is compiled."""

    context: int = 4096
    """Tokens a sequence may hold."""
    batch: int = 512
    """Tokens in one step, at most."""
    page: int = 64
    """Tokens in a page of the cache."""
    threads: int | None = None
    """Threads to compute with; None: as `ZIGAI_NUM_THREADS` says, else one for each CPU it may use."""
    kv_dtype: str = "F16"
    """How keys and values are kept, where a backend has the choice: F16, F32 or Q8_0.

    Q8_0 is int8 with a float16 scale for each 32 elements of a key or value. The numpy reference keeps F32,
    and for Q8_0 what that leaves of it.
    """

    @property
    def pages(self) -> int:
        """Pages that a sequence of full length takes."""
        return -(-self.context // self.page)


DEFAULT_STEPS = (
    *("logit_bias", "penalties", "dry", "top_n_sigma"),
    *("top_k", "typical_p", "top_p", "min_p", "xtc", "temperature", "mirostat"),
)


@dataclass(frozen=True)
class SamplingOptions:
    """How the next token is drawn. `SamplingError`, with the name and the value, for one out of range.

    Any finite value in range is safe: where one would overflow, the nearest float32 takes its place.

    >>> SamplingOptions(top_p=1.5)
    Traceback (most recent call last):
        ...
    zigai_core.contracts.errors.SamplingError: top_p must be a number within 0..1, not 1.5
    """

    temperature: float = 0.8
    """Divides the logits; 0 takes the likeliest token."""
    top_k: int = 40
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: float = 0.95
    """Keep the smallest set of likeliest tokens whose probabilities reach p; 1 keeps all."""
    min_p: float = 0.05
    """Keep tokens at least p times as likely as the likeliest; 0 keeps all."""
    typical_p: float = 1.0
    """Keep tokens of nearly typical surprise whose probabilities exceed p; 1 keeps all."""
    xtc_probability: float = 0.0
    """How often the likeliest tokens are left out; 0 never."""
    xtc_threshold: float = 0.1
    """Those at least so likely are left out then, but for the least likely; above 0.5 it is off."""
    dynatemp_range: float = 0.0
    """The temperature goes by the entropy from temperature - range to temperature + range; 0 is off."""
    dynatemp_exponent: float = 1.0
    """The power of the normalised entropy that it goes by."""
    mirostat: int = 0
    """Version 1 or 2 keeps the surprise near a target, in place of the steps top_k to xtc; 0 is off."""
    mirostat_tau: float = 5.0
    """That surprise, in bits."""
    mirostat_eta: float = 0.1
    """How fast it is brought back there."""
    repeat_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens among the last `penalty_last_n`; 1 is off."""
    frequency_penalty: float = 0.0
    """Subtracted from a logit for each time its token is among the last `penalty_last_n`."""
    presence_penalty: float = 0.0
    """Subtracted from the logits of tokens among the last `penalty_last_n`."""
    penalty_last_n: int = 64
    """How many tokens back, prompt included, the penalties look; 0 is off, -1 looks at all."""
    dry_multiplier: float = 0.0
    """The penalty for a token that goes on with a repeat of the allowed length; 0 is off."""
    dry_base: float = 1.75
    """By how much that penalty grows with each further token of the repeat."""
    dry_allowed_length: int = 2
    """Repeats of fewer tokens have no penalty."""
    dry_penalty_last_n: int = 64
    """How many tokens back, prompt included, repeats are looked for; 0 is off, -1 looks at all."""
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    """A token whose text holds one of these ends a repeat."""
    dry_breaker_tokens: frozenset[int] | None = None
    """Those tokens; None: `Model.sampler` looks them up, and a sampler made without a model has none."""
    top_n_sigma: float = -1.0
    """Keep tokens whose logit is within n standard deviations of the largest; up to 0 keeps all."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of these tokens; -inf rules a token out."""
    seed: int | None = None
    """The same seed gives the same draws; None takes a fresh one."""
    steps: tuple[str, ...] = DEFAULT_STEPS
    """The chain: registered names of steps, those that edit the whole row first. One left out is not done."""

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
        for breaker in self.dry_breaker_tokens or ():
            if isinstance(breaker, bool) or not isinstance(breaker, Integral) or breaker < 0:
                raise SamplingError(f"dry_breaker_tokens must name tokens by id, not {_brief(breaker)}")
        if self.seed is not None:
            self._integer("seed", minimum=0)
        biases: Mapping[Any, Any] = self.logit_bias
        for token, bias in biases.items():
            if isinstance(token, bool) or not isinstance(token, Integral) or token < 0:
                raise SamplingError(f"logit_bias must name tokens by id, not {_brief(token)}")
            if bias != -math.inf and not _is_finite(bias):
                raise SamplingError(
                    f"logit_bias of token {_brief(token)} must be a number or -inf, not {_brief(bias)}"
                )
        self._names("steps")

    @classmethod
    def greedy(cls) -> SamplingOptions:
        """Always the likeliest token; of equals, the one with the lowest id."""
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
            raise SamplingError(f"{name} must be a tuple of texts, not {_brief(value)}")


def _is_finite(value: object) -> bool:
    """Whether it is a number that a float can hold."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _brief(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of that many digits
        return "one of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _span(minimum: float, maximum: float) -> str:
    if maximum != math.inf:
        return f" within {minimum}..{maximum}"
    return f" of at least {minimum}" if minimum != -math.inf else ""
