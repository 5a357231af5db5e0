"""The sampler of one request: its chain of steps, its accepted tokens and its random draws."""

from __future__ import annotations

import copy
import itertools
import secrets
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.best import best as definition
from zigai_core.contracts.errors import PluginError, SamplingError, UnsupportedError, ZigAIError
from zigai_core.contracts.graph import Array
from zigai_core.contracts.options import SamplingOptions
from zigai_core.contracts.sampling import CandidateStep, Draw, RowStep, SamplerFactory, StatefulStep
from zigai_core.engine.sampling.candidate_steps import min_p, temperature, top_k, top_p, typical_p, xtc
from zigai_core.engine.sampling.candidates import RowCandidates, TokenCandidates
from zigai_core.engine.sampling.draws import Draws
from zigai_core.engine.sampling.mirostat import mirostat
from zigai_core.engine.sampling.row import BestOf, LogitsRow, RowBest
from zigai_core.engine.sampling.row_steps import dry, logit_bias, penalties, top_n_sigma

BUILT_IN: Mapping[str, SamplerFactory] = MappingProxyType(
    {
        "logit_bias": logit_bias,
        "penalties": penalties,
        "dry": dry,
        "top_n_sigma": top_n_sigma,
        "top_k": top_k,
        "typical_p": typical_p,
        "top_p": top_p,
        "min_p": min_p,
        "xtc": xtc,
        "temperature": temperature,
        "mirostat": mirostat,
    }
)
"""The built-in steps, by name. They are found even if core's entry points are not."""


class Factories(Protocol):
    """Lookup of steps that are not built in. `zigai_core.api.registry.Registry` implements it."""

    def __contains__(self, name: object) -> bool: ...

    def get(self, name: str) -> SamplerFactory:
        """The factory of this name. Raises `UnsupportedError` if there is none."""
        ...


class Reply(Protocol):
    """What a sampler knows of the reply that it draws for."""

    ended: bool


class Sampler:
    """Draws the tokens of one reply with the chain of `options.steps`.

    A step's name is looked up in `samplers` (a registry), then in `BUILT_IN`. Tokens of a row from
    `vocabulary` on are never drawn. `best` finds the k best of a row: a program's own function, or the
    definition in numpy.

    Raises `UnsupportedError` for a step that is not found, `SamplingError` if a row step comes after a
    candidate step, `PluginError` if a factory makes something that is no step.

    >>> sampler = Sampler(SamplingOptions.greedy())
    >>> sampler.start([5, 6])                                       # the prompt
    >>> token = sampler.sample(np.array([0.5, 2.0, 1.0], np.float32))
    >>> sampler.accept(token)
    >>> token
    1
    """

    def __init__(
        self,
        options: SamplingOptions,
        samplers: Factories | None = None,
        *,
        vocabulary: int | None = None,
        best: BestOf = definition,
    ) -> None:
        self.options = options
        self.seed = secrets.randbits(32) if options.seed is None else int(options.seed)
        """The seed in use, so that a reply with a random one can be repeated."""
        self.vocabulary = vocabulary
        self.reply: Reply | None = None
        """The reply that the sampler draws for, set by the engine."""
        self._best = best
        self._draws = Draws(self.seed)
        self._rows: list[tuple[str, RowStep]] = []
        self._choices: list[tuple[str, CandidateStep]] = []
        for name in options.steps:
            try:
                step = _factory(name, samplers)(options)
            except Exception as cause:
                raise _named(name, cause) from cause
            self._add(name, step)
        self._tokens: list[int] = []
        self._prompt = 0
        self._stateful = self._find_stateful()
        # States of the stateful steps at the start, and before each accepted token.
        self._at_start = self._states()
        self._before: list[list[object]] = []

    @property
    def tokens(self) -> Sequence[int]:
        """The prompt's tokens and the accepted ones."""
        return self._tokens

    @property
    def index(self) -> int:
        """Number of accepted tokens: the index of the next one in the reply."""
        return len(self._tokens) - self._prompt

    def start(self, prompt: Sequence[int]) -> None:
        """Start a reply to a prompt, whose tokens the penalties take into account."""
        self._restore(self._at_start)
        self._before.clear()
        self._tokens = [int(token) for token in prompt]
        self._prompt = len(self._tokens)

    def sample(
        self, logits: Array, mask: NDArray[np.uint32] | None = None, best: RowBest | None = None
    ) -> int:
        """Draw the token at `index` from `logits`, `[vocabulary]` or longer. Repeated calls draw the same.

        Tokens whose bit in the bitset `mask` is not set are ruled out before any step. `best` finds the
        k best of these logits, under edits and a mask, in place of the sampler's own function. Raises
        `SamplingError` if a logit of the model is not finite or every token is ruled out, `PluginError` if a
        step returns something other than candidates.
        """
        with np.errstate(all="ignore"):
            return self._chain(logits, mask, best).take(self._draws.uniform(self.index, "token"))

    def accept(self, token: int) -> None:
        """Append a token to the reply, drawn by this sampler or not."""
        self._before.append(self._states())
        self._tokens.append(int(token))
        for step in self._stateful:
            step.accept(token)

    def rollback(self, count: int) -> None:
        """Remove the last `count` accepted tokens. Raises `ValueError` if there are fewer."""
        if not 0 <= count <= self.index:
            raise ValueError(f"cannot roll back {count} of {self.index} tokens")
        self.rewind(self.index - count)

    def rewind(self, index: int) -> None:
        """Go back to the state after `index` accepted tokens, also from an interrupted `accept`."""
        if index < len(self._before):
            self._restore(self._before[index])
        del self._tokens[self._prompt + index :], self._before[index:]

    def fork(self) -> Sampler:
        """An independent copy of this sampler, with the same seed and the same accepted tokens."""
        twin = copy.copy(self)
        twin._tokens = list(self._tokens)
        twin._before = list(self._before)
        twin._rows = [(name, copy.copy(step)) for name, step in self._rows]
        twin._choices = [(name, copy.copy(step)) for name, step in self._choices]
        twin._stateful = twin._find_stateful()
        return twin

    def distribution(self, logits: Array, mask: NDArray[np.uint32] | None = None) -> Array:
        """The probabilities with which `sample` draws: float32, as long as `logits`. Raises as `sample`."""
        with np.errstate(all="ignore"):
            candidates = self._chain(logits, mask)
            probabilities = np.zeros(len(logits), np.float32)
            probabilities[candidates.ids] = candidates.probabilities()
        return probabilities

    def _add(self, name: str, step: object) -> None:
        if isinstance(step, RowStep):
            if self._choices:
                raise SamplingError(
                    f"steps: {name} edits the whole row, so it must come before {self._choices[0][0]}, "
                    "which selects candidates from it"
                )
            self._rows.append((name, step))
        elif isinstance(step, CandidateStep):
            self._choices.append((name, step))
        elif step is not None:
            raise PluginError(
                f"the sampler step {name!r} must have a method edit(row) or choose(candidates, draw); "
                f"{type(step).__name__} has neither"
            )

    def _chain(
        self, logits: Array, mask: NDArray[np.uint32] | None, best: RowBest | None = None
    ) -> TokenCandidates:
        if logits.ndim != 1 or not len(logits[: self.vocabulary]):
            raise SamplingError(f"logits must be of shape [vocabulary], not {logits.shape}")
        own = np.ascontiguousarray(logits[: self.vocabulary], np.float32)
        row = LogitsRow(own, self._tokens, self._best, best)
        if mask is not None:
            row.allow(mask)
        for name, row_step in self._rows:
            try:
                row_step.edit(row)
            except Exception as cause:
                raise _named(name, cause) from cause
        edited = ", ".join(name for name, _ in self._rows)
        candidates: TokenCandidates = RowCandidates(
            row, self._best, f"after the sampler steps {edited}" if edited else "under the mask"
        )
        for name, step in self._choices:
            try:
                chosen: object = step.choose(candidates, self._draw(name))
            except Exception as cause:
                raise _named(name, cause) from cause
            if not isinstance(chosen, TokenCandidates):
                raise PluginError(
                    f"the sampler step {name!r} must return candidates, but returned {type(chosen).__name__}"
                )
            if chosen is not candidates and not len(chosen):
                raise SamplingError(f"no token can be drawn: the sampler step {name!r} left none")
            candidates = chosen
        return candidates

    def _draw(self, name: str) -> Draw:
        numbers = itertools.count()
        return lambda: self._draws.uniform(self.index, name, next(numbers))

    def _states(self) -> list[object]:
        return [step.state for step in self._stateful]

    def _restore(self, states: Sequence[object]) -> None:
        for step, state in zip(self._stateful, states, strict=True):
            step.state = state

    def _find_stateful(self) -> list[StatefulStep]:
        steps = [step for _, step in (*self._rows, *self._choices)]
        return [step for step in steps if isinstance(step, StatefulStep)]


def _named(step: str, cause: Exception) -> Exception:
    """A `PluginError` with the name of a faulty step; the cause itself if that is an error of ours."""
    if isinstance(cause, (ZigAIError, MemoryError)):
        return cause
    return PluginError(
        f"the sampler step {step!r} failed: {type(cause).__name__}: {cause}. Leave it out of steps, or "
        "update its package"
    )


def _factory(name: str, samplers: Factories | None) -> SamplerFactory:
    if name in BUILT_IN and (samplers is None or name not in samplers):
        return BUILT_IN[name]
    if samplers is None:
        raise UnsupportedError(
            f"no sampler step {name!r} is built in; the built-in ones are {', '.join(BUILT_IN)}. "
            "For installed ones pass their registry: Sampler(options, Plugins.installed().samplers)"
        )
    return samplers.get(name)
