"""How many pages and slots an engine has: a budget, divided over the groups of states."""

from __future__ import annotations

import os

from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.plugins import Program
from zigai_core.engine.pages import window_pages
from zigai_core.engine.request import MOST_DRAFT_TOKENS, Budget

CONTEXTS = 4
"""Default for the tokens in all sequences, in contexts."""

SHARE = 4
"""By default, pages and slots use at most one part in so many of the machine's memory."""


def plan_sizes(program: Program, budget: Budget) -> tuple[tuple[int, ...], int]:
    """Returns the pages or slots of each group, and the number of tokens that fit.

    With T tokens and S sequences: T / page pages of full attention; of a window no more than that, and
    no more than S sequences can hold; 2 S slots and those for draft tokens, and checkpoints. Raises
    `UnsupportedError` if the budget is too small for one page in each group.
    """
    options = program.options
    tokens = budget.tokens
    limit = budget.bytes
    if tokens is None and limit is None:
        tokens = CONTEXTS * options.context
        memory = _memory() // SHARE
        least = _bytes(program, _sizes(program, budget, options.context))
        limit = max(memory, least)
    pages = -(-(options.context * budget.sequences if tokens is None else tokens) // options.page)
    if limit is not None:
        low, high = 0, pages
        while low < high:
            middle = (low + high + 1) // 2
            if _bytes(program, _sizes(program, budget, middle * options.page)) <= limit:
                low = middle
            else:
                high = middle - 1
        pages = low
    if not pages:
        least = _bytes(program, _sizes(program, budget, options.page))
        raise UnsupportedError(
            f"the budget of {budget.bytes} bytes is too small: {least} bytes are needed for one page of "
            f"{options.page} tokens and the states of {budget.sequences} sequences"
        )
    capacity = pages * options.page if tokens is None else min(tokens, pages * options.page)
    return _sizes(program, budget, pages * options.page), capacity


def _sizes(program: Program, budget: Budget, tokens: int) -> tuple[int, ...]:
    options, sizes = program.options, []
    pages = -(-tokens // options.page)
    for group, weight in zip(program.graph.groups, program.state_bytes, strict=True):
        if group.recurrent:
            kept = budget.checkpoint_bytes // max(1, weight)
            kept = min(kept, pages + budget.sequences)
            sizes.append(2 * budget.sequences + MOST_DRAFT_TOKENS + kept)
        elif group.window is not None:
            each = window_pages(group.window, options.batch, options.page)
            sizes.append(min(pages, budget.sequences * each))
        else:
            sizes.append(pages)
    return tuple(sizes)


def _bytes(program: Program, sizes: tuple[int, ...]) -> int:
    return sum(size * weight for size, weight in zip(sizes, program.state_bytes, strict=True))


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on this system
        return 8 << 30
