"""A request being computed: its tokens, how many are computed, and the pages and slots that hold them."""

from __future__ import annotations

from collections.abc import Sequence as Tokens

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import IN_PLACE
from zigai_core.contracts.graph import Array
from zigai_core.engine.draft_pace import DraftPace
from zigai_core.engine.prefix import Node
from zigai_core.engine.request import FinishReason, Piece, Request
from zigai_core.engine.stream import Channel

_NONE = np.empty(0, np.int64)

Replacement = tuple[list[int], int]
"""Tokens that replace those of a full sequence, and the token that was drawn after the latter."""


class Sequence:
    """Tokens `buffer[:length]`, of which the first `computed` are in pages and slots.

    Computing chases the tokens: a prompt, a token that was just drawn and a sequence that was preempted
    differ only in how many are left. After `length`, the buffer has room for draft tokens.
    `tables[g][:held]` are the pages of group g, -1 where a window gave them up; `slots[g]` is the slot of a
    recurrent group, -1 for none.
    """

    __slots__ = (
        *(
            "_before",
            "arrival",
            "begun_with",
            "buffer",
            "channel",
            "checkpoint",
            "collected",
            "computed",
            "ending",
            "first",
        ),
        *("given_up", "held", "length", "node", "outputs", "pace", "prompt_length", "reason", "replacement"),
        *("request", "rest", "running", "samples", "slots", "started", "tables", "text_state"),
        *("embeddings", "types", "waits_for", "_in_place"),
    )

    def __init__(
        self, request: Request, channel: Channel, prompt: Tokens[int], arrival: int, groups: int
    ) -> None:
        self.request = request
        self.channel = channel
        self.arrival = arrival
        self.begun_with = len(prompt)
        """Number of tokens it began with: the prompt's, or those that the last shift left."""
        self.buffer = np.empty(len(prompt) + 256, np.int32)
        self.buffer[: self.begun_with] = prompt
        self.length = self.begun_with
        self._before = 0
        self.types = None if request.types is None else np.array(request.types, np.int32)
        """The types of the prompt's tokens, int32; None: all are 0. Such a sequence has no other tokens."""
        self.embeddings = None if request.embeddings is None else np.array(request.embeddings, order="C")
        """Rows `[n, width]` in place of tokens -1; None: there are none."""
        self._in_place = np.flatnonzero(self.tokens == IN_PLACE) if self.embeddings is not None else _NONE
        self.samples = request.generates
        self.pace = DraftPace()
        self.waits_for: Channel | None = None
        """The request whose prompt must be computed first, because this one shares it."""
        self.outputs: Array | None = None
        self.collected = 0
        """Rows of `outputs` that are there."""
        self.replacement: Replacement | None = None
        """What replaces the tokens as soon as the step is committed: the context is full."""
        self.reason: FinishReason | None = None
        """Why the reply ends with its last token, if it does."""
        self.text_state = None if request.text is None else request.text.state
        """The state of the request's text after the last token."""
        self.ending: tuple[FinishReason | None, BaseException | None] | None = None
        """The end of the request, once it is being ended."""
        self.rest = ""
        """Text that is left to be delivered at the end."""
        self.started = 0.0
        self.first = 0.0
        self.prompt_length = len(prompt)
        """Number of tokens of the prompt, whose outputs the request may ask for."""
        self.running = False
        """True while it holds pages, in `Scheduler.running`."""
        self.tables: list[NDArray[np.int32]] = [np.empty(0, np.int32) for _ in range(groups)]
        self.slots = [-1] * groups
        self.clear()

    def clear(self) -> None:
        """Forgets pages and slots, without giving them back."""
        self.computed = 0
        self.held = 0
        self.given_up = [0] * len(self.tables)
        self.slots = [-1] * len(self.tables)
        self.node: Node | None = None
        """The prefix index's node of the last whole page; None if the request does not use the index."""
        self.checkpoint: tuple[int, int, Node] | None = None
        """The group, slot and node of the last checkpoint in the reply, which the next one replaces."""

    @property
    def tokens(self) -> NDArray[np.int32]:
        """The tokens, int32 `[length]`."""
        return self.buffer[: self.length]

    @property
    def generated(self) -> int:
        """Number of tokens that were drawn."""
        return self._before + self.length - self.begun_with + (self.replacement is not None)

    @property
    def wanted(self) -> int:
        """Number of rows of `outputs` that the request asked for."""
        if self.request.outputs is None:
            return 0
        return 1 if self.request.rows == "last" else self.prompt_length

    @property
    def first_output(self) -> int:
        """The first token whose outputs are needed: for the request's outputs, or for drawing a token."""
        if self.collected < self.wanted:
            return self.prompt_length - self.wanted + self.collected
        return self.length - 1 if self.samples else self.length

    @property
    def rank(self) -> tuple[int, int]:
        """The order in which sequences are scheduled; the last is preempted first."""
        return (-self.request.priority, self.arrival)

    def embeddings_of(self, start: int, count: int) -> Array | None:
        """Returns the embeddings in place of `count` tokens from index `start` on; None if there are none.

        They are found by the tokens' indices, so that a sequence that is computed again takes them again.
        """
        if self.embeddings is None:
            return None
        first, end = np.searchsorted(self._in_place, (start, start + count)).tolist()
        return self.embeddings[first:end] if end > first else None

    def extend(
        self, token: int, piece: Piece, reason: FinishReason | None, replacement: Replacement | None
    ) -> None:
        """Adds a token that was drawn, and gives its piece to the reader.

        With a replacement, `replace` adds the token. An interrupt leaves either all of this done or nothing.
        """
        self.room(1)
        channel, text = self.channel, self.request.text
        state = None if text is None else text.state
        delivered = channel.text + piece.text
        give, usage = channel.pieces.append, channel.usage
        # From here on no call but the last, after which an interrupt could come.
        if replacement is None:
            self.buffer[self.length] = token
            self.length += 1
        self.replacement = replacement
        self.reason = reason
        self.text_state = state
        channel.text = delivered
        channel.delivered += 1
        usage.generated_tokens += 1
        give(piece)

    def collect(self, rows: Array) -> int:
        """Copies the first of these output rows that the request asked for; returns how many are used up."""
        if self.outputs is None:
            self.outputs = np.empty((self.wanted, rows.shape[1]), np.float32)
        count = min(len(rows), self.wanted - self.collected)
        self.outputs[self.collected : self.collected + count] = rows[:count]
        self.collected += count
        if self.collected < self.wanted:
            return count
        self.channel.outputs = self.outputs
        return count - self.samples  # the last row is for drawing, too

    def rewind(self) -> None:
        """Puts the sampler and the text back to the last token, after an interrupt in the middle of them."""
        sampler, text = self.request.sampler, self.request.text
        if sampler is not None:
            sampler.rewind(self.generated)
        if text is not None:
            text.state = self.text_state

    def room(self, count: int) -> None:
        """Makes room for `count` entries after `length`."""
        if self.length + count > len(self.buffer):
            larger = np.empty(2 * (self.length + count), np.int32)
            larger[: self.length] = self.tokens
            self.buffer = larger

    def replace(self) -> None:
        """Carries out `replacement`; nothing of the tokens is computed then."""
        assert self.replacement is not None
        tokens, drawn = self.replacement
        count = len(tokens)
        buffer = np.empty(count + 256, np.int32)
        buffer[:count], buffer[count] = tokens, drawn
        before = self.generated - 1
        usage = self.channel.usage
        dropped = usage.dropped_tokens + self.length - count
        # From here on no call, after which an interrupt could come.
        usage.dropped_tokens = dropped
        self.buffer = buffer
        self._before = before
        self.begun_with = count
        self.length = count + 1
        self.replacement = None

    def extend_table(self, group: int, pages: Tokens[int], at: int) -> None:
        """Writes pages into a group's table from entry `at` on."""
        table, end = self.tables[group], at + len(pages)
        if end > len(table):
            self.tables[group] = larger = np.full(max(16, 2 * end), -1, np.int32)
            larger[:at] = table[:at]
            table = larger
        table[at:end] = pages
