"""Base class and helpers of the conformance suite for sampler steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zigai_core.api.registry import Registry
from zigai_core.contracts.best import best, bitset
from zigai_core.contracts.graph import Array
from zigai_core.contracts.options import SamplingOptions
from zigai_core.contracts.sampling import RowStep, SamplerFactory
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.sampling.candidates import RowCandidates, TokenCandidates
from zigai_core.engine.sampling.row import LogitsRow

Definition = Callable[[Array, SamplingOptions, Sequence[int]], NDArray[np.float64]]
"""`(logits, options, history) -> probabilities`: what a step makes of a row, computed in another way.

`logits` are float32 `[vocabulary]`, `history` is the prompt, `probabilities` float64 `[vocabulary]`, 0 for
excluded tokens. Of a random step, it is the distribution of the first draw with `options.seed`.
"""

HISTORY = (0, 1, 2, 0, 1, 2, 0, 1)
"""A prompt that repeats itself, for penalties; taken modulo the vocabulary."""


class Golden(NamedTuple):
    """A row whose distribution is known."""

    logits: Sequence[float]
    options: SamplingOptions
    probabilities: Mapping[int, float]
    """By token; all others have the probability 0."""
    prompt: Sequence[int] = ()


class SamplerSuite:
    """What a contributor sets, and what the tests of a step share."""

    factory: ClassVar[SamplerFactory]
    """Makes the step: the function or class of the entry point."""
    name: ClassVar[str]
    """The name of the entry point."""
    on: ClassVar[Sequence[SamplingOptions]]
    """Options that switch the step on. They must leave the last token of a row if it is the only one."""
    off: ClassVar[Sequence[SamplingOptions]] = ()
    """Options with which the factory makes no step."""
    goldens: ClassVar[Sequence[Golden]] = ()
    """Rows with known probabilities, such as another implementation's."""
    definition: ClassVar[Definition | None] = None
    """Compared with the step on all rows, if there is one."""
    tolerance: ClassVar[float] = 1e-6
    """Maximum difference of a probability from a golden one or the definition's."""
    smallest: ClassVar[int] = 1
    """Tokens of the smallest vocabulary that the options in `on` allow."""

    def _sampler(self, options: SamplingOptions, *steps: str, prompt: Sequence[int] = ()) -> Sampler:
        """Returns a started sampler whose chain is `steps`; the step alone if there are none."""
        owner: Any = type(self)
        registry = Registry[Any]("zigai.samplers", {owner.name: owner.factory})
        sampler = Sampler(replace(options, steps=steps or (owner.name,)), registry)
        sampler.start(prompt)
        return sampler

    def _step(self, options: SamplingOptions) -> Any:
        """Returns a new step, which must not be None."""
        owner: Any = type(self)
        step = owner.factory(options)
        assert step is not None, f"{shown(options)}: in `on`, but makes no step"
        return step

    def _rows(self, *, large: bool = True) -> dict[str, Array]:
        rows = rows_of_logits() | ({"large": large_row()} if large else {})
        return {name: row for name, row in rows.items() if len(row) >= type(self).smallest}

    def _cases(self, *, large: bool = True) -> Iterator[tuple[str, SamplingOptions, Array, list[int]]]:
        """Yields a description, options with a seed, a row and a prompt; the large row with one prompt."""
        for options in type(self).on:
            seeded = replace(options, seed=5)
            for name, row in self._rows(large=large).items():
                for prompt in ((), HISTORY) if name != "large" else (HISTORY,):
                    case = f"row {name!r}, {shown(options)}, prompt of {len(prompt)}"
                    yield case, seeded, row, [token % len(row) for token in prompt]


def shown(options: SamplingOptions) -> str:
    """Returns the options that differ from their defaults, as text."""
    usual = SamplingOptions()
    changed = {f.name: getattr(options, f.name) for f in fields(options)}
    changed = {name: value for name, value in changed.items() if value != getattr(usual, name, None)}
    return ", ".join(f"{name}={value!r}" for name, value in changed.items()) or "default options"


def rows_of_logits(seed: int = 0) -> dict[str, Array]:
    """Returns rows by name: random, with ties, extreme, and very short."""
    rng = np.random.default_rng(seed)
    normal = rng.normal(0, 3, 1000)
    rows = {
        "normal": normal,
        "narrow": rng.normal(0, 0.01, 300),
        "peaked": np.where(np.arange(500) == 77, 25.0, normal[:500]),
        "two peaks": np.where(np.arange(500) % 300 == 77, 25.0, normal[:500]),
        "ties": rng.choice([-1.0, 0.5, 2.0, 3.0], 400),
        "equal": np.full(300, -2.5),
        "zeros of both signs": rng.choice([0.0, -0.0], 70),
        "extreme": rng.choice([-3.4e38, -3e38, -1e-45, 1e-45, 3e38, 3.4e38], 200),
        "all but one as low as can be": np.where(np.arange(100) == 99, 3.4e38, -3.4e38),
        "few": rng.normal(0, 2, 9),
        "two": np.array([0.5, -0.5]),
        "two equal": np.array([1.0, 1.0]),
        "two extreme": np.array([-3.4e38, 3.4e38]),
        "one": np.array([3.0]),
        "one extreme": np.array([-3.4e38]),
    }
    return {name: row.astype(np.float32) for name, row in rows.items()}


def large_row() -> Array:
    """Returns a row of the largest vocabularies in use, 152,000 tokens."""
    row: Array = np.random.default_rng(9).normal(0, 3, 152_000).astype(np.float32)
    return row


def masks_of(size: int) -> list[NDArray[np.uint32]]:
    """Returns bitsets that allow half of the tokens, a few, and the last one alone."""
    rng = np.random.default_rng(5)
    chosen = [rng.random(size) < 0.5, rng.random(size) < 0.05, np.zeros(size, np.bool_)]
    for allowed in chosen:
        allowed[-1] = True
    return [bitset(allowed) for allowed in chosen]


def new_row(logits: Array, history: Sequence[int]) -> LogitsRow:
    """Returns an editable row of these logits."""
    return LogitsRow(logits, history, best)


def inputs(logits: Array, prompt: Sequence[int]) -> Iterator[tuple[str, TokenCandidates]]:
    """Yields candidates in the forms in which a step may get them."""
    whole = RowCandidates(new_row(logits, prompt), best, "in a test")
    yield "all", whole
    yield "ranked", RowCandidates(new_row(logits, prompt), best, "in a test").first(40)
    yield "one", RowCandidates(new_row(logits, prompt), best, "in a test").first(1)
    if len(logits) > 2:
        yield "some", whole.keep(np.arange(len(logits)) % 3 != 1)


def applied(
    step: Any, logits: Array, prompt: Sequence[int], draw: float
) -> Iterator[tuple[str, TokenCandidates, TokenCandidates]]:
    """Yields candidates before and after a step of either stage, in every form; all draws are `draw`."""
    with np.errstate(all="ignore"):
        if isinstance(step, RowStep):
            row = new_row(logits, prompt)
            step.edit(row)
            before = RowCandidates(new_row(logits, prompt), best, "in a test")
            yield "row", before, RowCandidates(row, best, "after the step")
            return
        for form, candidates in inputs(logits, prompt):
            yield form, candidates, step.choose(candidates, lambda: draw)
