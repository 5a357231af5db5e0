"""The logits after a sequence, and replies, do not depend on how its tokens got into the cache."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

import zigai
from zigai_core.contracts.graph import Array
from zigai_core.engine.direct import DirectRunner, DirectSequence, Part

TOLERANCE = 1e-4
"""Largest allowed difference of two logits that should be equal; the toy's logits are about ±3."""


@pytest.fixture(scope="module", params=["numpy", "native"])
def model(request: pytest.FixtureRequest, toy: Path) -> zigai.Model:
    return zigai.load(toy, backend=request.param, threads=2, context=512)


def random_tokens(count: int, seed: int) -> list[int]:
    return [int(token) for token in np.random.RandomState(seed).randint(3, 512, count)]


def append(runner: DirectRunner, sequence: DirectSequence, tokens: list[int]) -> Array:
    """Appends tokens and returns the last one's logits."""
    logits: Array = runner.run([Part(sequence, tokens)])[0]["logits"][-1]
    return logits


def assert_same(actual: Array, expected: Array) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)


def test_prefill_of_n_tokens_equals_n_single_steps(model: zigai.Model) -> None:
    tokens = random_tokens(150, seed=1)
    runner = DirectRunner(model.program)
    sequence = runner.new_sequence()
    for token, expected in zip(tokens, model.logits(tokens), strict=True):
        assert_same(append(runner, sequence, [token]), expected)


def test_prefill_in_uneven_pieces_equals_prefill_at_once(model: zigai.Model) -> None:
    tokens = random_tokens(200, seed=2)
    expected = model.logits(tokens)
    runner = DirectRunner(model.program)
    sequence = runner.new_sequence()
    for count in (1, 63, 2, 64, 65, 5):
        start = sequence.length
        logits = append(runner, sequence, tokens[start : start + count])
        assert_same(logits, expected[sequence.length - 1])
    assert sequence.length == len(tokens)


def test_four_sequences_of_different_lengths_in_one_batch_equal_each_alone(model: zigai.Model) -> None:
    prompts = [random_tokens(length, seed=length) for length in (1, 17, 64, 130)]
    runner = DirectRunner(model.program, sequences=4)
    sequences = [runner.new_sequence() for _ in prompts]
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
def test_a_truncated_sequence_continues_as_a_new_one(model: zigai.Model, kept: int) -> None:
    tokens, after = random_tokens(130, seed=3), random_tokens(20, seed=4)
    runner = DirectRunner(model.program)
    sequence = runner.new_sequence()
    append(runner, sequence, tokens)
    sequence.truncate(kept)
    assert_same(append(runner, sequence, after), model.logits(tokens[:kept] + after)[-1])


@pytest.mark.parametrize("length", [1, 64, 100])
def test_a_fork_and_its_origin_continue_independently(model: zigai.Model, length: int) -> None:
    tokens = random_tokens(length, seed=5)
    runner = DirectRunner(model.program, sequences=2)
    origin = runner.new_sequence()
    append(runner, origin, tokens)
    fork = runner.fork(origin)
    written = {origin: list(tokens), fork: list(tokens)}
    for turn in range(6):
        for sequence in (fork, origin):
            piece = random_tokens(3 + 20 * (turn % 2), seed=100 * turn + (sequence is fork))
            written[sequence] += piece
            assert_same(append(runner, sequence, piece), model.logits(written[sequence])[-1])


def test_a_sequence_given_twice_is_refused(model: zigai.Model) -> None:
    runner = DirectRunner(model.program)
    sequence = runner.new_sequence()
    with pytest.raises(ValueError, match="given twice"):
        runner.run([Part(sequence, [1]), Part(sequence, [2])])


def greedy(model: zigai.Model, prompt: list[int], count: int = 24) -> list[int]:
    """The tokens of a greedy reply."""
    reply = model.generate(prompt, temperature=0, max_tokens=count)
    assert reply.text is not None
    return reply.tokens


def likely(model: zigai.Model, prompt: list[int], count: int = 24) -> list[int]:
    """The most likely tokens, without an engine."""
    runner = DirectRunner(model.program)
    sequence, tokens = runner.new_sequence(), list(prompt)
    reply: list[int] = []
    while len(reply) < count:
        token = int(append(runner, sequence, tokens).argmax())
        if token in model.tokenizer.end_ids:
            break
        reply.append(token)
        tokens = [token]
    return reply


def test_replies_after_a_common_prefix_are_what_they_are_alone(model: zigai.Model) -> None:
    common = random_tokens(90, seed=6)
    prompts = [common + random_tokens(count, seed=count) for count in (30, 25, 1)]
    prompts += [common[:70], common[:64], common]
    for prompt in prompts:
        assert greedy(model, prompt) == likely(model, prompt)
    assert model.engine.stats().cached_tokens > 300
    model.engine.check()


def test_replies_of_several_threads_are_what_they_are_alone(model: zigai.Model) -> None:
    prompts = [random_tokens(length, seed=length) for length in (3, 40, 70, 130, 5, 64)]
    expected = [likely(model, prompt) for prompt in prompts]
    replies: list[list[int]] = [[] for _ in prompts]

    def run(index: int) -> None:
        replies[index] = greedy(model, prompts[index])

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies == expected
    model.engine.check()


def test_the_same_seed_gives_the_same_text(model: zigai.Model) -> None:
    texts = {model.generate([1, 300, 301], temperature=1.0, seed=11, max_tokens=24).text for _ in range(2)}
    assert len(texts) == 1
