"""Parts of the engine on their own: pages, prefixes, sizes, costs, the pace of drafts, rows of outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.best import bitset
from zigai_core.contracts.errors import SamplingError, TokenizerError, UnsupportedError, ZigAIError
from zigai_core.contracts.options import CompileOptions, SamplingOptions
from zigai_core.contracts.state import StateGroup
from zigai_core.engine.choosing import OutputRow
from zigai_core.engine.draft_pace import DraftPace
from zigai_core.engine.pages import PagePool
from zigai_core.engine.prefix import PrefixIndex
from zigai_core.engine.request import Budget, GroupStats, Request, drop_middle
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.sizes import plan_sizes
from zigai_core.engine.step_cost import LEAST, StepCost
from zigai_core.testing.engine.checking_executor import CheckingOutputs, CheckingProgram, checking_graph

WRONG_FIELDS: list[dict[str, Any]] = [
    *({"priority": value} for value in (None, "high", 1.5, True)),
    *({"deadline": value} for value in (float("nan"), float("inf"), "soon", True)),
    *({"logprobs": value} for value in (-1, 1.5, "all")),
    {"sampler": "greedy"},
    {"shift": 3},
]


@pytest.mark.parametrize("fields", WRONG_FIELDS)
def test_a_wrong_field_of_a_request_is_refused_by_name(fields: dict[str, Any]) -> None:
    (name,) = fields
    with pytest.raises(ZigAIError, match=f"{name} must be"):
        Request([1], **fields)


@pytest.mark.parametrize(
    "fields",
    [{"tokens": 1.5}, {"bytes": "1G"}, {"sequences": None}, {"sequences": 0}, {"checkpoint_bytes": -1}],
)
def test_a_wrong_field_of_a_budget_is_refused_by_name(fields: dict[str, Any]) -> None:
    (name,) = fields
    with pytest.raises(UnsupportedError, match=f"the budget's {name} must be a whole number"):
        Budget(**fields)


Tokens = np.ndarray[tuple[int], np.dtype[np.int32]]


def tokens(*values: int) -> Tokens:
    return np.array(values, np.int32)


def test_a_listed_page_is_known_when_nobody_uses_it() -> None:
    pool = PagePool(2)
    page = pool.take()
    assert page is not None
    pool.list(page)
    pool.share(page)
    pool.release(page)
    assert pool.stats() == GroupStats(2, 1, 0, 1)
    pool.release(page)
    assert pool.stats() == GroupStats(2, 1, 1, 0)
    pool.share(page)
    assert pool.stats().used == 1
    pool.check([page], [page])


def test_free_pages_are_taken_before_known_ones_and_those_by_last_use() -> None:
    forgotten: list[int] = []

    def forget(page: int) -> None:
        forgotten.append(page)
        pool.unlist(page)

    pool = PagePool(3, forget)
    pages = [pool.take() for _ in range(3)]
    for page in pages:
        assert page is not None
        pool.list(page)
    for at in (1, 0, 2):
        pool.release(pages[at] or 0)
    assert pool.take() == pages[1] and forgotten == [pages[1]]
    assert (pool.take(), pool.take(), pool.take()) == (pages[0], pages[2], None)


def test_a_pool_finds_wrong_counts() -> None:
    pool = PagePool(2)
    pool.take()
    with pytest.raises(AssertionError, match="1 users"):
        pool.check([], [])


def index(*groups: StateGroup, page: int = 2, pages: int = 20) -> tuple[PrefixIndex, list[PagePool]]:
    pools = [PagePool(pages) for _ in groups]
    return PrefixIndex(groups, page, pools), pools


def fill(found: PrefixIndex, pools: list[PagePool], values: Tokens, size: int = 2) -> list[int]:
    node, pages = found.root, []
    for first in range(0, len(values), size):
        node = found.child(node, values[first : first + size].tobytes())
        for g, pool in enumerate(pools):
            page = pool.take()
            assert page is not None
            found.put(node, g, page)
            pages.append(page)
    return pages


def test_a_prefix_is_found_up_to_the_limit_and_inside_a_page() -> None:
    found, pools = index(StateGroup(()))
    fill(found, pools, tokens(1, 2, 3, 4, 5, 6))
    assert found.find(tokens(1, 2, 3, 4, 9, 9), 5).length == 4
    hit = found.find(tokens(1, 2, 3, 9, 9, 9), 5)
    assert (hit.length, len(hit.path), hit.tail is not None) == (3, 1, True)
    hit = found.find(tokens(1, 2, 3, 4, 5, 6), 5)
    assert (hit.length, len(hit.path), hit.tail is not None) == (5, 2, True)
    assert found.find(tokens(3, 4, 5, 6), 3).length == 0
    found.check()


def test_a_hit_needs_every_page_of_full_attention_and_those_inside_the_window() -> None:
    for group, length in ((StateGroup(()), 0), (StateGroup((), window=3), 6)):
        found, pools = index(group)
        pages = fill(found, pools, tokens(1, 2, 3, 4, 5, 6))
        found.drop(0, pages[0])
        assert found.find(tokens(1, 2, 3, 4, 5, 6, 7), 6).length == length
        found.check()


def test_a_hit_ends_at_a_recurrent_state() -> None:
    found, pools = index(StateGroup((), recurrent=True))
    slots = fill(found, pools, tokens(1, 2, 3, 4, 5, 6))
    found.drop(0, slots[2])
    assert found.find(tokens(1, 2, 3, 4, 5, 6, 7), 6).length == 4
    assert found.find(tokens(1, 2, 3, 9), 3).length == 2


def test_nodes_without_pages_are_removed() -> None:
    found, pools = index(StateGroup(()))
    for page in reversed(fill(found, pools, tokens(1, 2, 3, 4))):
        found.drop(0, page)
    assert not found.root.children


def test_sizes_follow_the_budget() -> None:
    graph = checking_graph(windows=[8], recurrent=True)
    program = CheckingProgram(graph, CompileOptions(context=1000, batch=16, page=4))
    budget = Budget(tokens=400, sequences=2, checkpoint_bytes=5)
    assert plan_sizes(program, budget) == ((100, 2 * 9, 4 + 8 + 5), 400)
    sizes, capacity = plan_sizes(program, Budget(bytes=600, sequences=2, checkpoint_bytes=5))
    assert sizes[0] * 4 + sizes[1] * 4 + sizes[2] <= 600 and capacity == sizes[0] * 4
    with pytest.raises(UnsupportedError, match="budget of 10 bytes is too small"):
        plan_sizes(program, Budget(bytes=10))


def test_the_chunk_follows_the_measured_cost() -> None:
    cost = StepCost()
    assert cost.chunk(512) == 32
    cost.update(decode=4, prefill=0, seconds=0.1)
    cost.update(decode=0, prefill=100, seconds=0.1)
    assert cost.chunk(512) == 170
    assert cost.chunk(100) == 100
    for _ in range(100):
        cost.update(decode=4, prefill=10, seconds=10.1)
    assert cost.chunk(512) == LEAST


def test_drafting_pauses_after_rejected_tokens() -> None:
    pace = DraftPace()
    assert pace.next() == 4
    pace.update(4, 4)
    assert pace.next() == 8
    for _ in range(4):
        pace.update(8, 0)
    assert [pace.next() for _ in range(6)] == [0, 0, 0, 0, 1, 1]


def test_tokens_beyond_the_vocabulary_are_not_drawn_nor_checked() -> None:
    graph = checking_graph(vocabulary=70)
    outputs = CheckingOutputs([123], graph)
    row = outputs.rows("logits")
    row[0, 60:] = 1e9
    row[0, 65] = np.nan
    sampler = Sampler(SamplingOptions.greedy(), vocabulary=60)
    assert OutputRow(outputs, 0, 60).draw(sampler) == int(np.argmax(row[0, :60]))
    only = bitset(np.arange(60) == 7)
    assert OutputRow(outputs, 0, 60).best(3, None, only).ids.tolist() == [7]


def test_the_middle_is_dropped() -> None:
    assert drop_middle(2)([1, 2, 3, 4, 5, 6]) == [1, 2, 5, 6]
    assert drop_middle(5)([1, 2]) == [1]


def test_invalid_requests_are_refused() -> None:
    with pytest.raises(TokenizerError, match="no tokens"):
        Request([])
    with pytest.raises(SamplingError, match="max_tokens"):
        Request([1], max_tokens=-1)
    with pytest.raises(UnsupportedError, match="sequences must be a whole number of at least 1"):
        Budget(sequences=0)
