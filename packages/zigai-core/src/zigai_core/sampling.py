"""Sampling: a chain of steps, each `(logits, history) -> logits`, then one draw.

Names, order, defaults and meaning are llama.cpp's (`llama-sampler.cpp`, https://github.com/ggml-org/llama.cpp).
A step never changes the array it is given; what it rules out becomes -inf.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zigai_core.errors import PluginError, SamplingError, UnsupportedError

Logits = NDArray[np.float32]

DEFAULT_STEPS = ("logit_bias", "penalties", "top_k", "top_p", "min_p", "temperature")


@dataclass(frozen=True)
class SamplingOptions:
    """How the next token is drawn. `SamplingError`, with the name and the value, for one out of range.

    >>> SamplingOptions(top_p=1.5)
    Traceback (most recent call last):
        ...
    zigai_core.errors.SamplingError: top_p must be a number within 0..1, not 1.5
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


# The contract that `zigai_core.protocols`, which stands on this module, calls SamplerStep and SamplerFactory.
Step = Callable[[Logits, Sequence[int]], Logits]
Factory = Callable[[SamplingOptions], "Step | None"]


class Factories(Protocol):
    """Where a sampler finds steps that are not built in; a `Registry` is one."""

    def __contains__(self, name: object) -> bool: ...

    def get(self, name: str) -> Factory:
        """The factory of that name; `UnsupportedError` where there is none."""
        ...


def logit_bias(options: SamplingOptions) -> Step | None:
    """Add each token's bias. `SamplingError` for a token that the vocabulary does not have."""
    if not options.logit_bias:
        return None
    ids = np.array(list(options.logit_bias), np.int64)
    biases = np.array(list(options.logit_bias.values()), np.float32)

    def step(logits: Logits, history: Sequence[int]) -> Logits:
        if ids.max() >= len(logits):
            raise SamplingError(
                f"logit_bias names token {ids.max()}; the vocabulary has {len(logits)} tokens"
            )
        logits = logits.copy()
        logits[ids] += biases
        return logits

    return step


def penalties(options: SamplingOptions) -> Step | None:
    """Make tokens that came lately less likely.

    The repeat penalty is CTRL's (https://arxiv.org/abs/1909.05858) with llama.cpp's correction: a negative
    logit is multiplied, not divided. Frequency and presence penalties are those of OpenAI's API.
    """
    repeat, last_n = options.repeat_penalty, options.penalty_last_n
    frequency, presence = options.frequency_penalty, options.presence_penalty
    if last_n == 0 or (repeat == 1 and frequency == 0 and presence == 0):
        return None

    def step(logits: Logits, history: Sequence[int]) -> Logits:
        recent = history[-last_n:] if last_n > 0 else history
        if not len(recent):
            return logits
        ids, counts = np.unique(np.asarray(recent, np.int64), return_counts=True)
        if ids[0] < 0 or ids[-1] >= len(logits):
            raise SamplingError(
                f"the history holds token {ids[0] if ids[0] < 0 else ids[-1]}; "
                f"the vocabulary has {len(logits)} tokens"
            )
        lately = logits[ids]
        lately = np.where(lately > 0, lately / np.float32(repeat), lately * np.float32(repeat))
        logits = logits.copy()
        logits[ids] = lately - (counts * frequency + presence).astype(np.float32)
        return logits

    return step


def top_k(options: SamplingOptions) -> Step | None:
    """Keep the k likeliest tokens (https://arxiv.org/abs/1805.04833); of equals, the lowest ids."""
    k = options.top_k
    if k == 0:
        return None

    def step(logits: Logits, history: Sequence[int]) -> Logits:
        return _keep(logits, _largest(logits, k)) if k < len(logits) else logits

    return step


def top_p(options: SamplingOptions) -> Step | None:
    """Keep the smallest set of likeliest tokens that reaches p, at least one (https://arxiv.org/abs/1904.09751)."""
    p = options.top_p
    if p >= 1:
        return None

    def step(logits: Logits, history: Sequence[int]) -> Logits:
        ids, weights = _weights(logits)
        wanted = p * weights.sum()
        if len(ids) > 4096:  # the set is nearly always found among a few, and sorting those is cheap
            head = _largest(logits[ids], 1024)
            if weights[head].sum() > wanted:
                ids, weights = ids[head], weights[head]
        order = np.argsort(-logits[ids], kind="stable")
        count = int(np.searchsorted(np.cumsum(weights[order]), wanted)) + 1
        return _keep(logits, ids[order[:count]])

    return step


def min_p(options: SamplingOptions) -> Step | None:
    """Keep tokens whose probability is at least p times the greatest (https://arxiv.org/abs/2407.01082)."""
    if options.min_p == 0:
        return None
    distance = np.float32(math.log(options.min_p))

    def step(logits: Logits, history: Sequence[int]) -> Logits:
        return np.where(logits >= logits.max() + distance, logits, np.float32(-np.inf))

    return step


def temperature(options: SamplingOptions) -> Step | None:
    """Divide the logits by the temperature; at 0, keep the likeliest token alone."""
    divisor = np.float32(options.temperature)
    if divisor == 1:
        return None

    def step(logits: Logits, history: Sequence[int]) -> Logits:
        if divisor == 0:
            return _keep(logits, np.array([np.argmax(logits)]))
        scaled: Logits = logits / divisor
        # At a very small temperature the quotients overflow; only their differences matter.
        return scaled if np.isfinite(scaled.max()) else (logits - logits.max()) / divisor

    return step


BUILT_IN: Mapping[str, Factory] = MappingProxyType(
    {factory.__name__: factory for factory in (logit_bias, penalties, top_k, top_p, min_p, temperature)}
)
"""The steps of this module, which need no entry point to be found."""


class Sampler:
    """The chain of `options.steps` and the draw, with random numbers of its own: one for each thread of work.

    A step's name is looked up in `samplers` (a registry), then in `BUILT_IN`; `UnsupportedError` where
    neither has it.

    >>> Sampler(SamplingOptions.greedy()).sample(np.array([0.5, 2.0, 1.0], np.float32), [])
    1
    """

    def __init__(self, options: SamplingOptions, samplers: Factories | None = None) -> None:
        self.options = options
        self.seed = secrets.randbits(32) if options.seed is None else int(options.seed)
        """The seed in use, so that draws with a fresh one can be repeated."""
        self._random = np.random.default_rng(self.seed)
        made = [(name, _factory(name, samplers)(options)) for name in options.steps]
        self._steps = [(name, step) for name, step in made if step is not None]

    def sample(self, logits: Logits, history: Sequence[int]) -> int:
        """Draw a token id by `logits` `[vocabulary]`; `history` is all tokens so far, the prompt's included.

        `SamplingError` where the logits hold NaN or +inf, or rule every token out.
        """
        ids, weights = _weights(self._chain(logits, history))
        if len(ids) == 1:
            return int(ids[0])
        cumulative = np.cumsum(weights)
        drawn = np.searchsorted(cumulative, self._random.random() * cumulative[-1], side="right")
        # The product may round up to the sum itself, which lies behind the last token that has a weight.
        return int(ids[min(drawn, np.searchsorted(cumulative, cumulative[-1]))])

    def distribution(self, logits: Logits, history: Sequence[int]) -> Logits:
        """The probabilities that `sample` draws by: float32 `[vocabulary]`. Takes no random number."""
        ids, weights = _weights(self._chain(logits, history))
        probabilities = np.zeros(len(logits), np.float32)
        probabilities[ids] = weights / weights.sum()
        return probabilities

    def _chain(self, logits: Logits, history: Sequence[int]) -> Logits:
        if logits.ndim != 1 or not len(logits):
            raise SamplingError(f"logits must be of shape [vocabulary], not {logits.shape}")
        _check(logits, "of the model")
        logits = np.array(logits, np.float32)  # a copy: a step of a plugin may write into it
        with np.errstate(over="ignore", invalid="ignore"):
            for name, step in self._steps:
                after: Any = step(logits, history)
                if not isinstance(after, np.ndarray) or after.shape != logits.shape:
                    raise PluginError(
                        f"the sampler step {name!r} must give logits of shape {logits.shape}, "
                        f"but gave {getattr(after, 'shape', type(after).__name__)}"
                    )
                _check(after, f"after the sampler step {name!r}")
                logits = after
        return logits


def _factory(name: str, samplers: Factories | None) -> Factory:
    if name in BUILT_IN and (samplers is None or name not in samplers):
        return BUILT_IN[name]
    if samplers is None:
        raise UnsupportedError(
            f"no sampler step {name!r} is built in; there are {', '.join(BUILT_IN)}. "
            "Give the registry of installed steps for others: Sampler(options, Plugins.installed().samplers)"
        )
    return samplers.get(name)


def _check(logits: Logits, where: str) -> None:
    greatest = logits.max()  # NaN if one of them is
    if not np.isfinite(greatest):
        what = "rule every token out" if greatest == -np.inf else f"hold {greatest}"
        raise SamplingError(f"no token can be drawn: the logits {where} {what}")


def _weights(logits: Logits) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The ids that are not ruled out, ascending, and their probabilities up to a factor."""
    ids = np.flatnonzero(logits > -np.inf)
    kept = logits[ids].astype(np.float64)
    return ids, np.exp(kept - kept.max())


def _largest(logits: Logits, k: int) -> NDArray[np.intp]:
    """Ids of the k greatest, ascending; of equals, the lowest ids. Linear in time."""
    threshold = np.partition(logits, len(logits) - k)[len(logits) - k]
    above = np.flatnonzero(logits > threshold)
    equal = np.flatnonzero(logits == threshold)[: k - len(above)]
    return np.sort(np.concatenate([above, equal]))


def _keep(logits: Logits, ids: NDArray[np.intp]) -> Logits:
    kept = np.full_like(logits, -np.inf)
    kept[ids] = logits[ids]
    return kept


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _span(minimum: float, maximum: float) -> str:
    if maximum != math.inf:
        return f" within {minimum}..{maximum}"
    return f" of at least {minimum}" if minimum != -math.inf else ""
