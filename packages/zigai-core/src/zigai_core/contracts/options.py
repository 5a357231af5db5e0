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


DEFAULT_STEPS = ("logit_bias", "penalties", "top_k", "top_p", "min_p", "temperature")


@dataclass(frozen=True)
class SamplingOptions:
    """How the next token is drawn. `SamplingError`, with the name and the value, for one out of range.

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
    repeat_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens among the last `penalty_last_n`; 1 is off."""
    frequency_penalty: float = 0.0
    """Subtracted from a logit for each time its token is among the last `penalty_last_n`."""
    presence_penalty: float = 0.0
    """Subtracted from the logits of tokens among the last `penalty_last_n`."""
    penalty_last_n: int = 64
    """How many tokens back, prompt included, the penalties look; 0 is off, -1 looks at all."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of these tokens; -inf rules a token out."""
    seed: int | None = None
    """The same seed gives the same draws; None takes a fresh one."""
    steps: tuple[str, ...] = DEFAULT_STEPS
    """The chain: registered names of steps, in order. A step that is left out is not done."""

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
        if self.seed is not None:
            self._integer("seed", minimum=0)
        biases: Mapping[Any, Any] = self.logit_bias
        for token, bias in biases.items():
            if isinstance(token, bool) or not isinstance(token, Integral) or token < 0:
                raise SamplingError(f"logit_bias must name tokens by id, not {token!r}")
            if not _is_number(bias) or math.isnan(bias) or bias == math.inf:
                raise SamplingError(f"logit_bias of token {token} must be a number or -inf, not {bias!r}")
        names: Any = self.steps
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise SamplingError(f"steps must be a tuple of names, not {self.steps!r}")

    @classmethod
    def greedy(cls) -> SamplingOptions:
        """Always the likeliest token; of equals, the one with the lowest id."""
        return cls(temperature=0.0, top_k=0, top_p=1.0, min_p=0.0)

    def _number(self, name: str, minimum: float = -math.inf, maximum: float = math.inf) -> None:
        value = getattr(self, name)
        if not _is_number(value) or not math.isfinite(value) or not minimum <= value <= maximum:
            raise SamplingError(f"{name} must be a number{_span(minimum, maximum)}, not {value!r}")

    def _integer(self, name: str, minimum: int) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
            raise SamplingError(f"{name} must be a whole number of at least {minimum}, not {value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _span(minimum: float, maximum: float) -> str:
    if maximum != math.inf:
        return f" within {minimum}..{maximum}"
    return f" of at least {minimum}" if minimum != -math.inf else ""
