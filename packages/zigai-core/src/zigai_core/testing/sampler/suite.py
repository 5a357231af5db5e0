"""The conformance suite for sampler steps, as a class of tests to inherit from.

>>> class TestMyStep(SamplerConformance):     # doctest: +SKIP
...     factory = my_step
...     name = "my_step"
...     on = (SamplingOptions(),)
...     goldens = (Golden([0.0, 0.0, -9.0], SamplingOptions(), {0: 0.5, 1: 0.5}),)
"""

from __future__ import annotations

import random
import unittest
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from zigai_core.contracts.best import bits
from zigai_core.contracts.graph import Array
from zigai_core.contracts.options import DEFAULT_STEPS, CompileOptions, SamplingOptions
from zigai_core.contracts.sampling import CandidateStep, RowStep, StatefulStep
from zigai_core.engine.engine import Engine
from zigai_core.engine.request import Budget, Request
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.sampling.candidates import TokenCandidates
from zigai_core.testing.engine.checking_executor import (
    CheckingOutputs,
    CheckingProgram,
    checking_graph,
    expected_hash,
)
from zigai_core.testing.sampler.candidate_forms import applied, inputs, new_row
from zigai_core.testing.sampler.rows import masks_with_the_last
from zigai_core.testing.sampler.settings import HISTORY, SamplerSuite, shown

BELOW_ONE = 1 - 2.0**-53
"""The largest number that a draw returns."""

PROMPTS = tuple(tuple((7 * number + token) % 50 for token in (1, 2, 3, 1, 2, 3, 1, 2)) for number in range(4))
TOKENS = 24
NEITHER = (
    "give a golden or a definition: rows with known probabilities in `goldens`, or in `definition` a "
    "function (logits, options, history) -> probabilities that computes the step in another way"
)


class SamplerConformance(SamplerSuite):
    """All tests of a step of either stage. Inherit and set what `SamplerSuite` lists."""

    def test_options_switch_the_step_off(self) -> None:
        owner: Any = type(self)
        if not owner.off:
            raise unittest.SkipTest("`off` is empty: no options with which there is no step")
        for options in owner.off:
            assert owner.factory(options) is None, f"{shown(options)}: in `off`, but makes a step"

    def test_options_switch_the_step_on(self) -> None:
        owner: Any = type(self)
        assert owner.on, "`on` is empty"
        for options in owner.on:
            step = self._step(options)
            stages = isinstance(step, RowStep), isinstance(step, CandidateStep)
            assert sum(stages) == 1, f"a step has either edit or choose, not {stages}"
            stateful = isinstance(step, StatefulStep)
            assert stateful == hasattr(step, "accept"), "a step with `accept` has a `state`, too"

    def test_the_step_has_an_effect(self) -> None:
        for options in type(self).on:
            found = any(self._changes(replace(options, seed=seed)) for seed in range(8))
            assert found, f"{shown(options)}: no row is changed"

    def test_what_remains_are_some_of_the_candidates(self) -> None:
        for case, options, row, prompt in self._cases():
            for draw in (0.0, 0.5, BELOW_ONE) if len(row) < 10_000 else (0.0,):
                for form, before, after in applied(self._step(options), row, prompt, draw):
                    self._sound(before, after, f"{case}, {form}, draw {draw}")

    def test_candidates_keep_their_ranks(self) -> None:
        for case, options, row, prompt in self._cases():
            step = self._step(options)
            for form, before, after in applied(step, row, prompt, 0.5):
                if after.ranked:
                    order = np.lexsort((after.ids, -after.logits))
                    assert (order == np.arange(len(order))).all(), f"{case}, {form}: not in order of rank"
                else:
                    assert (np.diff(after.ids) > 0).all(), f"{case}, {form}: not in order of id"
                if isinstance(step, CandidateStep):
                    earlier = dict(zip(before.ids.tolist(), before.logits.tolist(), strict=True))
                    order = np.argsort([earlier[token] for token in after.ids.tolist()], kind="stable")
                    falls = np.diff(after.logits[order]) < 0
                    assert not falls.any(), f"{case}, {form}: a less likely token is now above"

    def test_every_row_has_a_distribution(self) -> None:
        for case, options, row, prompt in self._cases():
            sampler = self._sampler(options, prompt=prompt)
            probabilities = sampler.distribution(row)
            assert np.isfinite(probabilities).all() and probabilities.min() >= 0, case
            assert abs(float(probabilities.sum(dtype=np.float64)) - 1) < 1e-4, case
            assert probabilities[sampler.sample(row)] > 0, f"{case}: a token of probability 0 is drawn"

    def test_tokens_that_a_mask_excludes_stay_excluded(self) -> None:
        for case, options, row, prompt in self._cases():
            for mask in masks_with_the_last(len(row)):
                sampler, allowed = self._sampler(options, prompt=prompt), bits(mask, len(row))
                probabilities = sampler.distribution(row, mask)
                assert not probabilities[~allowed].any(), f"{case}: an excluded token is back"
                assert allowed[sampler.sample(row, mask)], case
            assert sampler.sample(row, mask) == len(row) - 1, f"{case}: the only token is not drawn"

    def test_rows_candidates_and_histories_are_not_changed(self) -> None:
        for case, options, row, prompt in self._cases(large=False):
            own, history, step = row.copy(), list(prompt), self._step(options)
            with np.errstate(all="ignore"):
                if isinstance(step, RowStep):
                    step.edit(new_row(own, history))
                for form, candidates in inputs(own, history) if isinstance(step, CandidateStep) else ():
                    ids, logits = candidates.ids.copy(), candidates.logits.copy()
                    step.choose(candidates, lambda: 0.5)
                    same = np.array_equal(candidates.ids, ids) and np.array_equal(candidates.logits, logits)
                    assert same, f"{case}, {form}: the candidates are changed"
            assert own.tobytes() == row.tobytes(), f"{case}: the model's row is changed"
            assert history == prompt, f"{case}: the history is changed"

    def test_the_same_input_gives_the_same(self) -> None:
        for case, options, row, prompt in self._cases(large=False):
            sampler, other = (self._sampler(options, prompt=prompt) for _ in range(2))
            first = sampler.distribution(row)
            for number in range(4):
                sampler.distribution(row[::-1].copy())  # another row in between
                assert sampler.distribution(row).tobytes() == first.tobytes(), f"{case}: call {number + 2}"
                assert sampler.sample(row) == other.sample(row), case
            assert other.distribution(row).tobytes() == first.tobytes(), f"{case}: another step"

    def test_randomness_comes_from_the_draw_alone(self) -> None:
        states = random.getstate(), np.random.get_state()
        try:
            for options in type(self).on:
                found = set()
                for seed in range(6):
                    random.seed(seed)
                    np.random.seed(seed)
                    found.add(self._reply(replace(options, seed=3)))
                assert len(found) == 1, (
                    f"{shown(options)}: the same seed gives different tokens or distributions"
                )
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])

    def test_a_rollback_is_as_if_tokens_had_never_been_accepted(self) -> None:
        for options in type(self).on:
            for count in (1, 3, 6):
                sampler, fresh = self._started(options), self._started(options)
                self._go_on(sampler, 8)
                sampler.rollback(count)
                self._go_on(fresh, 8 - count)
                assert self._go_on(sampler, 4) == self._go_on(fresh, 4), f"{shown(options)}: {count} tokens"
                sampler.start([token % self._width for token in HISTORY])
                assert self._go_on(sampler, 4) == self._go_on(self._started(options), 4), (
                    f"{shown(options)}: start"
                )

    def test_forks_are_independent(self) -> None:
        for options in type(self).on:
            origin, alone, other = (self._started(options) for _ in range(3))
            for sampler in (origin, alone, other):
                self._go_on(sampler, 3)
            fork = origin.fork()
            one = self._go_on(fork, 5, shift=1)
            assert self._go_on(origin, 5) == self._go_on(alone, 5), (
                f"{shown(options)}: the fork changes its origin"
            )
            assert one == self._go_on(other, 5, shift=1), (
                f"{shown(options)}: the fork differs from its origin"
            )

    def test_goldens_are_kept(self) -> None:
        """Every test but this and the next passes for a step that keeps any tokens, such as three."""
        owner: Any = type(self)
        assert owner.goldens or owner.definition, NEITHER
        if not owner.goldens:
            raise unittest.SkipTest("`goldens` is empty: `definition` is compared")
        for golden in owner.goldens:
            row = np.array(golden.logits, np.float32)
            expected = np.zeros(len(row))
            expected[list(golden.probabilities)] = list(golden.probabilities.values())
            self._equal(self._sampler(golden.options, prompt=golden.prompt), row, expected, f"{golden}")

    def test_distributions_are_those_of_the_definition(self) -> None:
        owner: Any = type(self)
        assert owner.goldens or owner.definition, NEITHER
        if not owner.definition:
            raise unittest.SkipTest("there is no `definition`: `goldens` are compared")
        for case, options, row, prompt in self._cases():
            for seed in (1, 2, 3) if len(row) < 10_000 else (1,):
                seeded = replace(options, seed=seed)
                with np.errstate(all="ignore"):
                    expected = owner.definition(row.copy(), seeded, prompt)
                self._equal(self._sampler(seeded, prompt=prompt), row, expected, case)

    def test_an_engine_gives_the_same_tokens_in_batches_and_with_drafts(self) -> None:
        name = type(self).name
        for options in (replace(each, seed=11) for each in type(self).on):
            row_step = isinstance(self._step(options), RowStep)
            chain = (name, *DEFAULT_STEPS) if row_step else (*DEFAULT_STEPS, name)
            for steps in ((name,), DEFAULT_STEPS if name in DEFAULT_STEPS else chain):
                expected = [self._alone(options, steps, prompt) for prompt in PROMPTS]
                for batch, sequences, drafts in ((8, 1, False), (32, 4, False), (32, 4, True)):
                    found = self._together(options, steps, batch, sequences, expected if drafts else None)
                    case = f"{shown(options)}, {sequences} sequences, drafts: {drafts}"
                    assert found == expected, f"{case}: tokens differ from those of a sequence alone"

    _width = 50

    def _changes(self, options: SamplingOptions) -> bool:
        """True if the step changes the distribution of a row."""
        for row in self._rows().values():
            for prompt in ((), HISTORY):
                with_step = self._sampler(options, prompt=[token % len(row) for token in prompt])
                without = Sampler(replace(options, steps=()))
                if not np.array_equal(with_step.distribution(row), without.distribution(row)):
                    return True
        return False

    def _sound(self, before: TokenCandidates, after: Any, case: str) -> None:
        assert isinstance(after, TokenCandidates), f"{case}: {type(after).__name__} is returned"
        ids, logits = after.ids, after.logits
        assert len(ids) == len(logits) == len(after) > 0, f"{case}: no candidate is left"
        assert len(np.unique(ids)) == len(ids), f"{case}: a candidate is there twice"
        invented = np.setdiff1d(ids, before.ids)
        assert not len(invented), f"{case}: tokens {invented[:5]} were no candidates"
        assert np.isfinite(logits).all() and logits.dtype == np.float32, f"{case}: a logit is not finite"
        probabilities = after.probabilities()
        assert np.isfinite(probabilities).all(), f"{case}: a probability is not finite"
        assert abs(probabilities.sum() - 1) < 1e-6, f"{case}: probabilities add up to {probabilities.sum()}"

    def _equal(self, sampler: Sampler, row: Array, expected: Any, case: str) -> None:
        found, expected = sampler.distribution(row), np.asarray(expected).astype(np.float32)
        assert expected.shape == found.shape, f"{case}: the definition returns {expected.shape}"
        kept, right = (np.flatnonzero(each).tolist() for each in (found, expected))
        missing, more = sorted(set(right) - set(kept))[:5], sorted(set(kept) - set(right))[:5]
        assert kept == right, f"{case}: tokens {missing} are missing, {more} too many"
        difference = np.abs(found - expected).max()
        assert difference <= self.tolerance, f"{case}: a probability differs by {difference}"

    def _started(self, options: SamplingOptions) -> Sampler:
        prompt = [token % self._width for token in HISTORY]
        return self._sampler(replace(options, seed=5), prompt=prompt)

    def _go_on(self, sampler: Sampler, count: int, shift: int = 0) -> list[tuple[int, bytes]]:
        """Draws and accepts tokens; returns them with their distributions. The rows depend on the index."""
        found = []
        for _ in range(count):
            rng = np.random.default_rng(sampler.index + 100 * shift)
            row = rng.normal(0, 2, self._width).astype(np.float32)
            token = sampler.sample(row)
            found.append((token, sampler.distribution(row).tobytes()))
            sampler.accept(token)
        return found

    def _reply(self, options: SamplingOptions) -> tuple[tuple[int, bytes], ...]:
        return tuple(self._go_on(self._sampler(options, prompt=[0, 1, 0, 1]), 12))

    def _alone(self, options: SamplingOptions, steps: tuple[str, ...], prompt: Sequence[int]) -> list[int]:
        """The reply to a prompt, without an engine."""
        graph = checking_graph(vocabulary=50)
        sampler = self._sampler(options, *steps, prompt=prompt)
        for _ in range(TOKENS):
            outputs = CheckingOutputs([expected_hash(sampler.tokens)], graph)
            sampler.accept(sampler.sample(outputs.rows("logits")[0]))
        return list(sampler.tokens[len(prompt) :])

    def _together(
        self,
        options: SamplingOptions,
        steps: tuple[str, ...],
        batch: int,
        sequences: int,
        replies: list[list[int]] | None,
    ) -> list[list[int]]:
        """The replies of an engine; with draft tokens, most of them right, if `replies` are given."""
        plan = CompileOptions(context=64, batch=batch, page=8)
        program = CheckingProgram(checking_graph(vocabulary=50), plan)
        with Engine(program, budget=Budget(tokens=512, sequences=sequences)) as engine:
            streams = [
                engine.submit(
                    Request(
                        prompt,
                        max_tokens=TOKENS,
                        sampler=self._sampler(options, *steps),
                        drafter=None if replies is None else MostlyRight(len(prompt), replies[number]),
                    )
                )
                for number, prompt in enumerate(PROMPTS)
            ]
            return [[int(token) for token in stream.result().tokens] for stream in streams]


class MostlyRight:
    """A drafter that knows the reply, and proposes every fifth token wrong."""

    def __init__(self, prompt: int, reply: Sequence[int]) -> None:
        self._prompt = prompt
        self._reply = reply

    def propose(self, tokens: Sequence[int], count: int) -> list[int]:
        """Returns the next `count` tokens of the reply, or fewer at its end."""
        first = len(tokens) - self._prompt
        part = self._reply[first : first + count]
        return [(token + (first + i) % 5 // 4) % 50 for i, token in enumerate(part)]
