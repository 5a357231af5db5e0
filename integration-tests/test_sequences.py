"""The logits after a sequence do not depend on how its tokens got into the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import zigai
from zigai_core.contracts.graph import Array
from zigai_core.engine.runner import Part, Runner
from zigai_core.engine.session import Session

TOLERANCE = 1e-4
"""Largest allowed difference of two logits that should be equal; the toy's logits are about ±3."""


@pytest.fixture(scope="module", params=["numpy", "native"])
def model(request: pytest.FixtureRequest, toy: Path) -> zigai.Model:
    return zigai.load(toy, backend=request.param, threads=2, context=512)


def random_tokens(count: int, seed: int) -> list[int]:
    return [int(token) for token in np.random.RandomState(seed).randint(3, 512, count)]


def session_of(model: zigai.Model, tokens: list[int]) -> Session:
    session = model.new_session()
    session.extend(tokens)
    return session


def assert_same(actual: Array, expected: Array) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)


def test_prefill_of_n_tokens_equals_n_single_steps(model: zigai.Model) -> None:
    tokens = random_tokens(150, seed=1)
    whole = model.logits(tokens)
    session = model.new_session()
    for token, expected in zip(tokens, whole, strict=True):
        session.extend([token])
        assert_same(session.logits(), expected)


def test_prefill_in_uneven_pieces_equals_prefill_at_once(model: zigai.Model) -> None:
    tokens = random_tokens(200, seed=2)
    expected = model.logits(tokens)[-1]
    session = model.new_session()
    start = 0
    for count in (1, 63, 2, 64, 65, 5):
        session.extend(tokens[start : start + count])
        logits = session.logits()
        start += count
    assert start == len(tokens)
    assert_same(logits, expected)


def test_four_sequences_of_different_lengths_in_one_batch_equal_each_alone(model: zigai.Model) -> None:
    prompts = [random_tokens(length, seed=length) for length in (1, 17, 64, 130)]
    runner = Runner(model.program, sequences=4)
    sequences = [runner.pool.new_sequence() for _ in prompts]
    parts = [
        Part(sequence, prompt, want_all=True) for sequence, prompt in zip(sequences, prompts, strict=True)
    ]
    for outputs, prompt in zip(runner.run(parts), prompts, strict=True):
        assert_same(outputs["logits"], model.logits(prompt))
    # A step with several tokens of one sequence and single tokens of the others.
    after = [random_tokens(count, seed=90 + count) for count in (1, 9, 1, 1)]
    parts = [Part(sequence, tokens) for sequence, tokens in zip(sequences, after, strict=True)]
    for outputs, prompt, tokens in zip(runner.run(parts), prompts, after, strict=True):
        assert_same(outputs["logits"][-1], model.logits(prompt + tokens)[-1])


@pytest.mark.parametrize("kept", [0, 1, 63, 64, 65, 100])
def test_a_rewound_session_continues_as_if_the_dropped_tokens_had_never_been(
    model: zigai.Model, kept: int
) -> None:
    tokens, after = random_tokens(130, seed=3), random_tokens(20, seed=4)
    session = session_of(model, tokens)
    session.logits()
    session.rewind(kept)
    session.extend(after)
    assert_same(session.logits(), model.logits(tokens[:kept] + after)[-1])


@pytest.mark.parametrize("length", [1, 64, 100])
def test_a_fork_and_its_origin_continue_independently(model: zigai.Model, length: int) -> None:
    tokens = random_tokens(length, seed=5)
    origin = Session(Runner(model.program, sequences=2))
    origin.extend(tokens)
    origin.logits()
    fork = origin.fork()
    written: dict[int, list[int]] = {id(origin): list(tokens), id(fork): list(tokens)}
    for turn in range(6):
        for session in (fork, origin):
            piece = random_tokens(3 + 20 * (turn % 2), seed=100 * turn + (session is fork))
            session.extend(piece)
            written[id(session)] += piece
            assert_same(session.logits(), model.logits(written[id(session)])[-1])


def test_replacing_a_prompt_keeps_the_common_prefix_and_changes_no_logits(model: zigai.Model) -> None:
    common, first, second = random_tokens(90, seed=6), random_tokens(30, seed=7), random_tokens(25, seed=8)
    session = session_of(model, common + first)
    session.logits()
    assert session.replace(common + second) == len(common)
    assert_same(session.logits(), model.logits(common + second)[-1])


def test_sessions_of_one_model_are_independent(model: zigai.Model) -> None:
    a, b = random_tokens(70, seed=9), random_tokens(40, seed=10)
    first, second = session_of(model, a), session_of(model, b)
    first.logits()
    second.logits()
    for turn in range(4):
        piece = random_tokens(2, seed=20 + turn)
        a, b = a + piece, b + piece[::-1]
        first.extend(piece)
        second.extend(piece[::-1])
        assert_same(first.logits(), model.logits(a)[-1])
        assert_same(second.logits(), model.logits(b)[-1])


def test_the_same_seed_gives_the_same_text(model: zigai.Model) -> None:
    options = zigai.SamplingOptions(temperature=1.0, seed=11)
    texts = {model.generate([1, 300, 301], sampling=options, max_tokens=24).complete() for _ in range(2)}
    assert len(texts) == 1
