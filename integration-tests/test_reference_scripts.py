"""The scripts that make the reference models: dialogues, held-out prompts and quantisers."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the scripts importable by their bare names, as they import each other."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent / "reference_models"))
    yield
    for name in set(sys.modules) - before:
        if name in ("dialogues", "facts", "tasks", "wording", "words", "quantize"):
            del sys.modules[name]


def test_the_same_seed_gives_the_same_dialogues() -> None:
    from dialogues import Maker

    first, again, other = (list(islice(Maker(seed).train(), 50)) for seed in (1, 1, 2))
    assert first == again != other


def test_training_data_contains_no_held_out_prompt() -> None:
    from dialogues import Dialogue, Maker

    for dialogue in islice(Maker(1).train(), 2000):
        for length in range(1, len(dialogue.turns) + 1):
            assert not Dialogue(dialogue.system, dialogue.turns[:length]).held_out()


def test_every_task_has_held_out_prompts() -> None:
    from dialogues import ALL_TASKS, Maker

    for task in ALL_TASKS:
        dialogue = Maker(3).test(task)
        assert dialogue.held_out()
        assert dialogue.turns[-1].task == task


def test_answers_about_facts_agree_with_the_earlier_turns() -> None:
    from dialogues import Maker
    from facts import FACTS

    asked = {question.rstrip("?"): fact for fact in FACTS.values() for question in fact.asked}
    checked = 0
    for dialogue in islice(Maker(4).train(), 3000):
        for at, turn in enumerate(dialogue.turns):
            if turn.task not in ("told", "made up", "not told"):
                continue
            fact = next(fact for question, fact in asked.items() if question in turn.user.lower())
            known = [
                match
                for before in dialogue.turns[:at]
                if (match := re.fullmatch(pattern(fact.acknowledged), before.answer)) is not None
            ]
            if turn.task != "not told":
                assert turn.answer == fact.answered.format(*map(str.lower, known[-1].groups())) or (
                    turn.answer == fact.answered.format(*known[-1].groups())
                )
            else:
                assert (turn.answer, known) == (fact.unknown, [])
            checked += 1
    assert checked > 300


def pattern(template: str) -> str:
    """A regular expression that matches a formatted template with `{}`."""
    return "(.+)".join(map(re.escape, template.split("{}")))


@pytest.mark.parametrize(("dtype", "error"), [("F32", 0.0), ("Q8_0", 0.006), ("Q6_K", 0.02), ("Q4_K", 0.08)])
def test_quantised_weights_are_close_to_the_weights(dtype: str, error: float) -> None:
    from quantize import quantize

    weights = np.random.default_rng(7).standard_normal((64, 512)).astype(np.float32)
    weights[1] *= 1e-3
    weights[2] = np.abs(weights[2])
    weights[3] = -np.abs(weights[3])
    weights[4, :256] += 5
    stored = quantize("w", weights, dtype).to_float32()
    for row, given in zip(stored, weights, strict=True):
        assert np.linalg.norm(row - given) <= error * np.linalg.norm(given) * 1.2
    assert np.linalg.norm(stored - weights) <= error * np.linalg.norm(weights)


@pytest.mark.parametrize("dtype", ["F32", "Q8_0", "Q6_K", "Q4_K"])
def test_zeros_and_a_single_nonzero_weight_keep_their_values(dtype: str) -> None:
    from quantize import quantize

    weights = np.zeros((2, 256), np.float32)
    weights[1, 100] = -0.75
    stored = quantize("w", weights, dtype).to_float32()
    assert (stored[0] == 0).all()
    assert stored[1, 100] == pytest.approx(-0.75, rel=0.01)
    assert np.abs(np.delete(stored[1], 100)).max() <= 0.75 * 0.01
