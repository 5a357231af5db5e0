"""Drafters: they propose draft tokens, which the engine checks in one step of the model.

A step over a few tokens costs little more than over one, because each weight is read once for all of them.
The engine computes the logits after each draft token in one step and draws from them as it would without
drafts; the drafts after the first one that is not drawn are dropped. The draw of a token depends only on the
seed and its index in the reply, so a reply is the same with and without drafts. This is speculative sampling
(Leviathan et al., 2023, arXiv:2211.17192; Chen et al., 2023, arXiv:2302.01318) for drafters that propose one
token each: their rejection step accepts a draft as often as this comparison.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zigai_core.contracts.plugins import Program
from zigai_core.engine.direct import DirectRunner, Part
from zigai_core.engine.request import MOST_DRAFT_TOKENS


class NgramDrafter:
    """Proposes the tokens that followed an earlier occurrence of the last tokens.

    Prompt lookup (A. Saxena, 2023, https://github.com/apoorvumang/prompt-lookup-decoding): the latest earlier
    occurrence of the last `longest` to `shortest` tokens is continued. Good for replies that repeat their
    prompt or themselves: edited code, summaries with quotes, tables.

    >>> NgramDrafter().propose([5, 6, 7, 8, 9, 5, 6, 7], 4)
    [8, 9, 5, 6]
    """

    def __init__(self, *, longest: int = 4, shortest: int = 2) -> None:
        self._sizes = range(longest, shortest - 1, -1)
        self._tokens: list[int] = []
        self._ends: dict[tuple[int, ...], int] = {}
        """By n-gram, the index after its latest occurrence; the n-gram at the end is not included."""

    def propose(self, tokens: Sequence[int], count: int) -> list[int]:
        """Returns at most `count` tokens; none if the last tokens did not occur before."""
        self._read(tokens)
        for size in self._sizes:
            end = self._ends.get(tuple(self._tokens[-size:])) if len(self._tokens) > size else None
            if end is not None:
                return self._tokens[end : end + count]
        return []

    def _read(self, tokens: Sequence[int]) -> None:
        known = len(self._tokens)
        if len(tokens) < known or (known and int(tokens[known - 1]) != self._tokens[-1]):
            self._tokens, self._ends, known = [], {}, 0  # the tokens were replaced
        self._tokens.extend(int(token) for token in tokens[known:])
        for end in range(max(known, 1), len(self._tokens)):
            for size in self._sizes:
                if end >= size:
                    self._ends[tuple(self._tokens[end - size : end])] = end


class ModelDrafter:
    """Proposes the most likely tokens of a smaller model with the same vocabulary.

    The first `prefill` or `propose` makes an executor of that model's program, and `close` drops it. Tokens
    from `vocabulary` on are never proposed. It implements `PrefillingDrafter`: a long prompt is
    prefilled over several steps of the engine, and nothing is proposed before that is done.
    """

    def __init__(self, program: Program, vocabulary: int) -> None:
        self._program = program
        self._runner: DirectRunner | None = None
        self._tokens: list[int] = []
        self._context = program.options.context
        self._limit = program.graph.token_limit
        self._vocabulary = vocabulary
        self._recurrent = any(group.recurrent for group in program.graph.groups)

    def missing(self, tokens: Sequence[int]) -> int:
        """Returns how many of `tokens` before the last one are not computed; 0 if nothing can be proposed."""
        kept = self._common(tokens)
        return len(tokens) - 1 - kept if self._fits(tokens, kept) else 0

    def prefill(self, tokens: Sequence[int], count: int) -> None:
        """Computes the next `count` of the missing tokens."""
        kept = self._common(tokens)
        runner = self._truncate(kept)
        runner.run([Part(self._sequence, tokens[kept : kept + count])])
        self._tokens = list(tokens[: kept + count])

    def propose(self, tokens: Sequence[int], count: int) -> list[int]:
        """Returns at most `count` tokens; none if the draft model's context or vocabulary is too small.

        Computes all missing tokens first.
        """
        count = min(count, self._context - len(tokens) - 1)
        kept = self._common(tokens)
        if count < 1 or not self._fits(tokens, kept):
            return []
        runner = self._truncate(kept)
        drafts = [self._next(runner, tokens[kept:])]
        while len(drafts) < count:
            drafts.append(self._next(runner, drafts[-1:]))
        self._tokens = [*tokens, *drafts[:-1]]
        return drafts

    def close(self) -> None:
        """Drops the executor and what it holds; the request has ended."""
        self._runner, self._tokens = None, []

    def _fits(self, tokens: Sequence[int], kept: int) -> bool:
        """True if the draft model has all tokens from index `kept` on, and room for a draft token."""
        return len(tokens) + 1 < self._context and max(tokens[kept:], default=self._limit) < self._limit

    def _common(self, tokens: Sequence[int]) -> int:
        """Returns how many computed tokens can be kept: those `tokens` begins with, without its last one."""
        if self._runner is None:
            return 0
        own, most = self._tokens, min(len(self._tokens), len(tokens) - 1)
        common = max(0, most - 2 * MOST_DRAFT_TOKENS)  # mostly, only draft tokens differ
        if own[:common] != list(tokens[:common]):
            common = 0
        while common < most and own[common] == tokens[common]:
            common += 1
        return 0 if self._recurrent and common < self._sequence.length else common

    def _truncate(self, kept: int) -> DirectRunner:
        """Returns the runner, whose sequence has the first `kept` of the computed tokens."""
        if self._runner is None:
            self._runner = DirectRunner(self._program)
            self._sequence = self._runner.new_sequence()
        self._sequence.truncate(kept)
        return self._runner

    def _next(self, runner: DirectRunner, tokens: Sequence[int]) -> int:
        logits = runner.run([Part(self._sequence, tokens)])[0]["logits"]
        return int(np.argmax(logits[-1, : self._vocabulary]))
