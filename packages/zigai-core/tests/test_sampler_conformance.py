"""The conformance suite for sampler steps passes sound steps and finds each planted fault."""

from __future__ import annotations

import random
import unittest
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest

from zigai_core.contracts.best import bits
from zigai_core.contracts.options import SamplingOptions
from zigai_core.contracts.sampling import Candidates, Draw, Row
from zigai_core.engine.sampling.candidates import TokenCandidates
from zigai_core.testing.sampler import Golden, SamplerConformance
from zigai_core.testing.sampler.rows import masks_with_the_last

OFF = SamplingOptions(min_p=0.0)
ON = (SamplingOptions(min_p=0.2), SamplingOptions(min_p=0.7))


class TopA:
    """Keeps tokens of at least a times the square of the largest probability; a is `min_p`."""

    def __init__(self, options: SamplingOptions) -> None:
        self.a = options.min_p

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        p = candidates.probabilities()
        return candidates.keep(p >= self.a * p.max() ** 2)


class Sharpen:
    """Multiplies logits above the mean by 1 + `min_p`, in the row stage; and excludes the lowest."""

    def __init__(self, options: SamplingOptions) -> None:
        self.factor = 1 + options.min_p

    def edit(self, row: Row) -> None:
        logits = row.logits()
        left = logits > -np.inf
        middle = logits[left].mean(dtype=np.float64)
        row.replace(np.where(left, (logits - middle) * self.factor, -np.inf))
        if left.sum() > 1:
            chosen = left.copy()
            chosen[np.flatnonzero(left)[logits[left].argmin()]] = False
            row.keep(chosen)


class Cooling:
    """Keeps fewer tokens after each accepted one: top-k with k from 30 down."""

    def __init__(self, options: SamplingOptions) -> None:
        self.state = 30

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        return candidates.first(self.state)

    def accept(self, token: int) -> None:
        self.state = max(1, self.state - 1 - token % 3)


class Sometimes:
    """Keeps the most likely half, with the probability `min_p`."""

    def __init__(self, options: SamplingOptions) -> None:
        self.probability = options.min_p

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        return candidates.first((len(candidates) + 1) // 2) if draw() < self.probability else candidates


def made(step: Callable[[SamplingOptions], Any]) -> Callable[[SamplingOptions], Any]:
    return lambda options: step(options) if options.min_p > 0 else None


def top_a_of(logits: Any, options: SamplingOptions, history: Any) -> Any:
    p = np.exp(logits.astype(np.float64) - logits.max())
    p /= p.sum()
    p[p < options.min_p * p.max() ** 2] = 0
    return p / p.sum()


class TestTopA(SamplerConformance):
    factory, name, on, off = made(TopA), "top_a", ON, (OFF,)
    definition = staticmethod(top_a_of)
    goldens = (Golden(np.log([0.5, 0.3, 0.2]).tolist(), SamplingOptions(min_p=0.9), {0: 0.625, 1: 0.375}),)


def sharpened_of(logits: Any, options: SamplingOptions, history: Any) -> Any:
    wide, most = logits.astype(np.float64), float(np.finfo(np.float32).max)
    far = ((1 + options.min_p) * (wide - wide.sum() / len(wide))).clip(-most, most).astype(np.float32)
    p = np.exp(far.astype(np.float64) - far.max())
    if len(p) > 1:
        p[min(range(len(p)), key=wide.tolist().__getitem__)] = 0
    return p / p.sum()


def first_thirty_of(logits: Any, options: SamplingOptions, history: Any) -> Any:
    p = np.exp(logits.astype(np.float64) - logits.max())
    p[np.argsort(-logits, kind="stable")[30:]] = 0
    return p / p.sum()


class TestSharpen(SamplerConformance):
    factory, name, on, off = made(Sharpen), "sharpen", ON, (OFF,)
    definition = staticmethod(sharpened_of)


class TestCooling(SamplerConformance):
    factory, name, on, off = made(Cooling), "cooling", ON, (OFF,)
    definition = staticmethod(first_thirty_of)


class TestSometimes(SamplerConformance):
    factory, name, on, off = made(Sometimes), "sometimes", ON, (OFF,)
    goldens = (Golden(np.log([0.5, 0.3, 0.2]).tolist(), SamplingOptions(min_p=1.0), {0: 0.625, 1: 0.375}),)


class TestAlwaysOn(SamplerConformance):
    """A step without options: there is nothing with which it is off."""

    factory, name, on = staticmethod(Cooling), "cooling", (SamplingOptions(),)
    definition = staticmethod(first_thirty_of)


def built(candidates: Candidates, ids: Any, logits: Any, *, ranked: bool = False) -> TokenCandidates:
    """Candidates that no method of candidates would return."""
    best = candidates._best  # type: ignore[attr-defined]
    return TokenCandidates(np.asarray(ids, np.int32), np.asarray(logits, np.float32), best, ranked=ranked)


class Invents(TopA):
    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        kept = super().choose(candidates, draw)
        return built(kept, kept.ids + 1, kept.logits)


class Doubles(TopA):
    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        return built(candidates, np.repeat(candidates.ids, 2), np.repeat(candidates.logits, 2))


class KeepsNone(TopA):
    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        p = candidates.probabilities()
        return candidates.keep(p > self.a)


class Overflows(TopA):
    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        p = np.exp(candidates.logits)
        return candidates.keep(p / p.sum() >= self.a * (p / p.sum()).max() ** 2)


class MakesInfinite(TopA):
    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        return built(candidates, candidates.ids, candidates.logits * 1e30)


class ReturnsIds(TopA):
    def choose(self, candidates: Candidates, draw: Draw) -> Any:
        return candidates.ids


class ReversesRanks(TopA):
    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        return built(candidates, candidates.ids, -candidates.logits)


class CallsItRanked(TopA):
    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        kept = super().choose(candidates, draw)
        return built(kept, kept.ids, kept.logits, ranked=True)


class NeedsTwo(TopA):
    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        second = np.sort(candidates.logits)[-2]
        return candidates.keep(candidates.logits >= second)


class Counts(TopA):
    calls = 0

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        self.calls += 1
        return candidates.first(self.calls)


class DrawsForItself(TopA):
    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        return candidates.first(1 + random.randrange(20))


class DrawsFromNumpy(TopA):
    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        return candidates.first(1 + np.random.default_rng().integers(20))


class DrawsInAccept(Cooling):
    def accept(self, token: int) -> None:
        self.state = random.randrange(1, 30)


class HidesState(Cooling):
    def __init__(self, options: SamplingOptions) -> None:
        super().__init__(options)
        self.hidden = 30

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        return candidates.first(self.hidden)

    def accept(self, token: int) -> None:
        self.hidden = max(1, self.hidden - 3)


class SharesState:
    def __init__(self, options: SamplingOptions) -> None:
        self.state = [30]

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        return candidates.first(max(1, self.state[0]))

    def accept(self, token: int) -> None:
        self.state[0] -= 3


class HasNoState:
    def __init__(self, options: SamplingOptions) -> None:
        self.k = 30

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        return candidates.first(self.k)

    def accept(self, token: int) -> None:
        self.k = max(1, self.k - 3)


class HasBothStages(TopA):
    def edit(self, row: Row) -> None:
        row.keep(row.logits() > 0)


class Unmasks(Sharpen):
    def edit(self, row: Row) -> None:
        row._mask = None  # type: ignore[attr-defined]


class WritesTheModelsRow(Sharpen):
    def edit(self, row: Row) -> None:
        own = row._own  # type: ignore[attr-defined]
        own *= np.float32(0.5)


class ChangesTheHistory(Sharpen):
    def edit(self, row: Row) -> None:
        super().edit(row)
        row.history.append(0)  # type: ignore[attr-defined]


class WritesNaN(Sharpen):
    def edit(self, row: Row) -> None:
        logits = row.logits()
        row.replace(logits / np.float32(logits.max() - logits.min()))


class ExcludesAll(Sharpen):
    def edit(self, row: Row) -> None:
        logits = row.logits()
        row.keep(logits > np.median(logits))


class DoesNothing(TopA):
    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        return candidates


class KeepsOneFewer(TopA):
    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        kept = super().choose(candidates, draw)
        return kept.first(max(1, len(kept) - 1))


class ForgetsTheSquare(TopA):
    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        p = candidates.probabilities()
        return candidates.keep(p >= self.a * p.max())


class ChangesCandidates(TopA):
    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        kept = super().choose(candidates, draw)
        if candidates.logits.flags.writeable:
            candidates.logits[:] = 0
        return kept


class KnowsOtherReplies(TopA):
    """What it keeps depends on which reply has asked before."""

    latest: list[float] = [0.0]

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        own = float(candidates.logits[0])
        earlier, self.latest[0] = self.latest[0], own
        return candidates.first(1 + int(earlier * 1000) % 7)


class KeepsThree(TopA):
    """Sound in all that needs no definition of the step."""

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        return candidates.first(3)


class Fault(NamedTuple):
    step: Callable[[SamplingOptions], Any]
    found_by: str
    suite: type[SamplerConformance] = TestTopA
    made: bool = True


FAULTS = {
    "is on when it should be off": Fault(
        lambda options: TopA(options), "test_options_switch_the_step_off", made=False
    ),
    "is off when it should be on": Fault(lambda options: None, "test_options_switch_the_step_on", made=False),
    "both stages": Fault(HasBothStages, "test_options_switch_the_step_on"),
    "accept without state": Fault(HasNoState, "test_options_switch_the_step_on"),
    "does nothing": Fault(DoesNothing, "test_the_step_has_an_effect"),
    "invents tokens": Fault(Invents, "test_what_remains_are_some_of_the_candidates"),
    "keeps a token twice": Fault(Doubles, "test_what_remains_are_some_of_the_candidates"),
    "keeps none": Fault(KeepsNone, "test_what_remains_are_some_of_the_candidates"),
    "returns ids": Fault(ReturnsIds, "test_what_remains_are_some_of_the_candidates"),
    "makes infinite logits": Fault(MakesInfinite, "test_what_remains_are_some_of_the_candidates"),
    "needs two tokens": Fault(NeedsTwo, "test_what_remains_are_some_of_the_candidates"),
    "reverses ranks": Fault(ReversesRanks, "test_candidates_keep_their_ranks"),
    "calls it ranked": Fault(CallsItRanked, "test_candidates_keep_their_ranks"),
    "overflows": Fault(Overflows, "test_every_row_has_a_distribution"),
    "divides by zero": Fault(WritesNaN, "test_every_row_has_a_distribution", TestSharpen),
    "excludes all": Fault(ExcludesAll, "test_every_row_has_a_distribution", TestSharpen),
    "drops the mask": Fault(Unmasks, "test_tokens_that_a_mask_excludes_stay_excluded", TestSharpen),
    "writes the model's row": Fault(
        WritesTheModelsRow, "test_rows_candidates_and_histories_are_not_changed", TestSharpen
    ),
    "changes the history": Fault(
        ChangesTheHistory, "test_rows_candidates_and_histories_are_not_changed", TestSharpen
    ),
    "changes the candidates": Fault(ChangesCandidates, "test_rows_candidates_and_histories_are_not_changed"),
    "counts its calls": Fault(Counts, "test_the_same_input_gives_the_same"),
    "draws for itself": Fault(DrawsForItself, "test_randomness_comes_from_the_draw_alone"),
    "draws from numpy": Fault(DrawsFromNumpy, "test_randomness_comes_from_the_draw_alone"),
    "draws in accept": Fault(DrawsInAccept, "test_randomness_comes_from_the_draw_alone", TestCooling),
    "hides state": Fault(HidesState, "test_a_rollback_is_as_if_tokens_had_never_been_accepted", TestCooling),
    "shares state with forks": Fault(SharesState, "test_forks_are_independent", TestCooling),
    "differs from a golden": Fault(ForgetsTheSquare, "test_goldens_are_kept"),
    "differs from the definition": Fault(KeepsOneFewer, "test_distributions_are_those_of_the_definition"),
    "keeps three, by a golden": Fault(KeepsThree, "test_goldens_are_kept"),
    "keeps three, by the definition": Fault(KeepsThree, "test_distributions_are_those_of_the_definition"),
    "depends on other replies": Fault(
        KnowsOtherReplies, "test_an_engine_gives_the_same_tokens_in_batches_and_with_drafts"
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_found(fault: Fault) -> None:
    factory = made(fault.step) if fault.made else fault.step
    suite: Any = type("Faulty", (fault.suite,), {"factory": staticmethod(factory)})()
    with pytest.raises(Exception):  # noqa: B017 - an assertion of the suite, or what the fault raises
        getattr(suite, fault.found_by)()
    getattr(fault.suite(), fault.found_by)()


def test_every_test_of_the_suite_finds_a_fault() -> None:
    tests = {name for name in dir(SamplerConformance) if name.startswith("test_")}
    assert tests == {fault.found_by for fault in FAULTS.values()}


RIGHT = ("test_goldens_are_kept", "test_distributions_are_those_of_the_definition")


def test_without_a_golden_and_a_definition_both_tests_fail() -> None:
    class Unknown(SamplerConformance):
        factory, name, on = made(KeepsThree), "three", ON

    for test in RIGHT:
        with pytest.raises(AssertionError, match="give a golden or a definition"):
            getattr(Unknown(), test)()


def test_a_test_that_has_nothing_to_compare_is_skipped() -> None:
    for suite, test, reason in (
        (TestAlwaysOn, "test_options_switch_the_step_off", "`off` is empty"),
        (TestAlwaysOn, RIGHT[0], "`goldens` is empty"),
        (TestSometimes, RIGHT[1], "there is no `definition`"),
    ):
        with pytest.raises(unittest.SkipTest, match=reason):
            getattr(suite(), test)()


def test_every_mask_allows_the_last_token_and_one_of_them_no_other() -> None:
    for size in (1, 2, 31, 32, 33, 500):
        allowed = [bits(mask, size) for mask in masks_with_the_last(size)]
        assert all(each[-1] for each in allowed)
        assert allowed[-1].sum() == 1


def test_options_are_described_by_what_differs_from_the_defaults() -> None:
    class Refused(SamplerConformance):
        factory, name, on = staticmethod(lambda options: None), "none", ()

    with pytest.raises(AssertionError, match="`on` is empty"):
        Refused().test_options_switch_the_step_on()
    Refused.on = (replace(OFF, top_k=7),)
    with pytest.raises(AssertionError, match=r"top_k=7, min_p=0\.0: in `on`, but makes no step"):
        Refused().test_options_switch_the_step_on()
