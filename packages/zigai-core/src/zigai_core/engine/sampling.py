"""Sampling: a chain of steps, each `(logits, history) -> logits`, then one draw.

Names, order, defaults and meaning are llama.cpp's (`llama-sampler.cpp`, https://github.com/ggml-org/llama.cpp).
A step never changes the array it is given; what it rules out becomes -inf.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.errors import PluginError, SamplingError, UnsupportedError
from zigai_core.contracts.options import SamplingOptions
from zigai_core.contracts.plugins import SamplerFactory, SamplerStep

Logits = NDArray[np.float32]


class Factories(Protocol):
    """Where a sampler finds steps that are not built in; a `Registry` is one."""

    def __contains__(self, name: object) -> bool: ...

    def get(self, name: str) -> SamplerFactory:
        """The factory of that name; `UnsupportedError` where there is none."""
        ...


def logit_bias(options: SamplingOptions) -> SamplerStep | None:
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


def penalties(options: SamplingOptions) -> SamplerStep | None:
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


def top_k(options: SamplingOptions) -> SamplerStep | None:
    """Keep the k likeliest tokens (https://arxiv.org/abs/1805.04833); of equals, the lowest ids."""
    k = options.top_k
    if k == 0:
        return None

    def step(logits: Logits, history: Sequence[int]) -> Logits:
        return _keep(logits, _largest(logits, k)) if k < len(logits) else logits

    return step


def top_p(options: SamplingOptions) -> SamplerStep | None:
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


def min_p(options: SamplingOptions) -> SamplerStep | None:
    """Keep tokens whose probability is at least p times the greatest (https://arxiv.org/abs/2407.01082)."""
    if options.min_p == 0:
        return None
    distance = np.float32(math.log(options.min_p))

    def step(logits: Logits, history: Sequence[int]) -> Logits:
        return np.where(logits >= logits.max() + distance, logits, np.float32(-np.inf))

    return step


def temperature(options: SamplingOptions) -> SamplerStep | None:
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


BUILT_IN: Mapping[str, SamplerFactory] = MappingProxyType(
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


def _factory(name: str, samplers: Factories | None) -> SamplerFactory:
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
