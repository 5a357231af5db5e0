"""Extends replies: proposes draft tokens, draws tokens from a step's outputs, and notes why a reply ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence as Tokens
from typing import NamedTuple

from zigai_core.contracts.errors import ContextOverflowError, ZigAIError
from zigai_core.contracts.plugins import Outputs
from zigai_core.engine.choosing import OutputRow
from zigai_core.engine.fitting import shifted
from zigai_core.engine.memory import StepPart
from zigai_core.engine.request import (
    DRAFT_PREFILL,
    MOST_DRAFT_TOKENS,
    FinishReason,
    Piece,
    PrefillingDrafter,
    drop_middle,
)
from zigai_core.engine.sequence import Replacement, Sequence


class Drawn(NamedTuple):
    """The result of a step for one reply."""

    reason: FinishReason | None = None
    """Why the reply has ended, if it has."""
    accepted: int = 0
    """Number of draft tokens that were drawn, not counting the reply's last token."""


class Drawer:
    """Runs what belongs to a request: its sampler, text and drafter. What they raise ends that request.

    `context` is the most tokens of a sequence; token ids are below `token_limit`. `counts` are the engine's.
    """

    def __init__(self, context: int, token_limit: int, counts: Counter[str]) -> None:
        self._context = context
        self._token_limit = token_limit
        self._counts = counts
        self.draft_prefill = DRAFT_PREFILL
        """Number of tokens that draft models may compute for prompts in this step."""

    def propose(self, sequence: Sequence, most: int) -> int:
        """Puts at most `most` draft tokens after a sequence's tokens; returns how many."""
        request = sequence.request
        assert request.drafter is not None and request.sampler is not None
        count = min(most, self._context - sequence.length - 1)
        if request.max_tokens is not None:
            count = min(count, request.max_tokens - sequence.generated - 1)
        count = min(count, sequence.pace.next())
        if count < 1:
            return 0
        tokens = request.sampler.tokens
        if isinstance(request.drafter, PrefillingDrafter) and not self._prefilled(request.drafter, tokens):
            return 0
        drafts = list(request.drafter.propose(tokens, count))[:count]
        for token in drafts:
            if not 0 <= token < self._token_limit:
                raise ZigAIError(
                    f"the drafter proposed the token {token}; the model's are 0..{self._token_limit - 1}"
                )
        sequence.room(len(drafts))
        sequence.buffer[sequence.length : sequence.length + len(drafts)] = drafts
        return len(drafts)

    def _prefilled(self, drafter: PrefillingDrafter, tokens: Tokens[int]) -> bool:
        """Lets a drafter compute what it is missing, as far as this step may. True if it can propose."""
        missing = drafter.missing(tokens)
        if missing <= MOST_DRAFT_TOKENS:
            return True
        count = min(missing, self.draft_prefill)
        if count:
            self.draft_prefill -= count
            drafter.prefill(tokens, count)
        return missing - count <= MOST_DRAFT_TOKENS

    def draw(self, part: StepPart, outputs: Outputs, rows: int) -> Drawn:
        """Draws tokens from the last `rows` output rows of a part, until one is not the next draft token."""
        sequence = part.sequence
        request, sampler = sequence.request, sequence.request.sampler
        assert sampler is not None
        end = sequence.length
        drafts = sequence.buffer[end : end + part.drafts].tolist() if part.drafts else []
        first = part.first_output + part.outputs - rows
        accepted = 0
        drawn = Drawn()
        for i in range(rows):
            row = OutputRow(outputs, first + i, sampler.vocabulary)
            token = row.draw(sampler)
            if token in request.end_ids:
                drawn = Drawn("end", accepted)
                break
            replacement: Replacement | None = None
            if sequence.length >= self._context:
                if request.overflow == "stop":
                    drawn = Drawn("context", accepted)
                    break
                replacement = (self._shift(sequence), token)
            logprobs = () if request.logprobs is None else (row.logprobs(token, request.logprobs),)
            sampler.accept(token)
            text = "" if request.text is None else request.text.push(token)
            reason: FinishReason | None = None
            if request.text is not None and request.text.stopped is not None:
                reason = "stop"
            elif request.max_tokens is not None and sequence.generated + 1 >= request.max_tokens:
                reason = "length"
            sequence.extend(token, Piece((token,), text, logprobs), reason, replacement)
            self._counts["generated_tokens"] += 1
            drawn = Drawn(reason, accepted)
            if replacement is not None or reason is not None or i >= len(drafts) or token != drafts[i]:
                break
            accepted += 1
        if part.drafts:
            self._note_drafts(sequence, part.drafts, accepted)
        self._note_time(sequence)
        return drawn

    def _shift(self, sequence: Sequence) -> list[int]:
        """Returns the tokens that replace those of a full sequence."""
        request = sequence.request
        if request.overflow == "error":
            raise ContextOverflowError(
                f"the context of {self._context} tokens is full: use a larger context or "
                "budget, or the overflow policy stop or shift"
            )
        return shifted(request.shift or drop_middle(1), sequence.tokens.tolist())

    def _note_drafts(self, sequence: Sequence, proposed: int, accepted: int) -> None:
        sequence.pace.update(proposed, accepted)
        usage = sequence.channel.usage
        usage.draft_proposed += proposed
        usage.draft_accepted += accepted
        self._counts["draft_proposed"] += proposed
        self._counts["draft_accepted"] += accepted

    def _note_time(self, sequence: Sequence) -> None:
        usage, now = sequence.channel.usage, time.perf_counter()
        if not sequence.first:
            sequence.first = now
            usage.prefill_seconds = now - sequence.started
            usage.time_to_first_token = now - sequence.request.called
        usage.decode_seconds = now - sequence.first


def own_fault(error: BaseException) -> BaseException:
    """Returns what a request's own code has raised, which ends that request; raises KeyboardInterrupt."""
    if isinstance(error, KeyboardInterrupt):
        raise error
    return error
