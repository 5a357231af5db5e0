"""Page tables: no page is lost, shared by mistake, or written while another sequence reads it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zigai_core.contracts.errors import ContextOverflowError
from zigai_core.engine.cache import CachedSequence, PagePool

PAGE = 4


def append(sequence: CachedSequence, memory: dict[tuple[int, int], int], tokens: list[int]) -> None:
    for source, target in sequence.reserve(len(tokens)):
        for slot in range(PAGE):
            if (source, slot) in memory:
                memory[target, slot] = memory[source, slot]
    for offset, token in enumerate(tokens):
        position = sequence.length + offset
        memory[int(sequence.page_table[position // PAGE]), position % PAGE] = token
    sequence.commit(len(tokens))


def contents(sequence: CachedSequence, memory: dict[tuple[int, int], int]) -> list[int]:
    table = sequence.page_table
    return [memory[int(table[p // PAGE]), p % PAGE] for p in range(sequence.length)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 7), st.integers(0, 30)), max_size=60))
def test_any_order_of_verbs_leaves_each_sequence_its_own_tokens(verbs: list[tuple[int, int, int]]) -> None:
    pool, memory = PagePool(pages=12, page=PAGE), {}
    live: list[tuple[CachedSequence, list[int]]] = [(pool.new_sequence(), [])]
    for token, (verb, which, amount) in enumerate(verbs):
        sequence, expected = live[which % len(live)]
        if verb == 0:
            tokens = [1000 * token + i for i in range(amount % 9)]
            try:
                append(sequence, memory, tokens)
                expected.extend(tokens)
            except ContextOverflowError:
                pass
        elif verb == 1:
            length = amount % (len(expected) + 1)
            sequence.truncate(length)
            del expected[length:]
        elif verb == 2 and len(live) < 6:
            length = amount % (len(expected) + 1)
            live.append((sequence.fork(length), expected[:length]))
        elif verb == 3 and len(live) > 1:
            sequence.free()
            del live[which % len(live)]
        for kept, tokens in live:
            assert contents(kept, memory) == tokens
    for sequence, _ in live:
        sequence.free()
    assert pool.free_pages == 12


def test_a_reservation_that_does_not_fit_takes_nothing() -> None:
    pool = PagePool(pages=3, page=PAGE)
    sequence = pool.new_sequence()
    with pytest.raises(ContextOverflowError, match="all 3 pages of 4 tokens"):
        sequence.reserve(13)
    assert pool.free_pages == 3
    sequence.reserve(12)
    assert pool.free_pages == 0


def test_a_fork_shares_pages_until_one_writes() -> None:
    pool = PagePool(pages=8, page=PAGE)
    origin = pool.new_sequence()
    origin.reserve(6)
    origin.commit(6)
    fork = origin.fork()
    assert pool.free_pages == 6
    assert origin.reserve(1) == [(1, 2)]
    assert origin.page_table.tolist() == [0, 2]
    assert fork.page_table.tolist() == [0, 1]
    assert fork.reserve(1) == []


def test_lengths_that_are_not_there_are_refused() -> None:
    sequence = PagePool(pages=2, page=PAGE).new_sequence()
    with pytest.raises(ValueError, match="cannot truncate a sequence of 0 tokens to 1"):
        sequence.truncate(1)
    with pytest.raises(ValueError, match="cannot fork a sequence of 0 tokens at 1"):
        sequence.fork(1)
