"""Guessing tokens ahead, so that one step of the model can check several: what is said stays the same.

A step over a few tokens costs little more than over one, because each weight is read once for all of them. So
somebody cheap guesses how a reply goes on, the model computes the logits after every guess in one step, and
the sampler then draws from them one by one, as it would have without guesses: where it draws the guessed
token the next logits are at hand already, and where it does not the rest of the guesses is forgotten.

This is speculative sampling (Leviathan et al. 2023, arXiv:2211.17192; Chen et al. 2023, arXiv:2302.01318) for
drafters that are certain of their guess: drawing from the model's distribution and comparing accepts a guess
as often as the papers' rejection step does, leaves the distribution untouched, and, since the draw of a token
depends on nothing but the seed and its place in the reply, gives the same text for the same seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    from zigai_core.contracts.graph import Array
    from zigai_core.engine.session import Session

Speculate = Literal["ngram"]


class Drafter(Protocol):
    """Who guesses."""

    def guess(self, tokens: Sequence[int], count: int) -> Sequence[int]:
        """At most `count` tokens that may follow `tokens`; none where there is nothing to go by."""
        ...


class NgramDrafter:
    """Guesses that what followed the same tokens before follows them again.

    Prompt lookup (A. Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding): finds the latest
    earlier place of the last `longest` to `shortest` tokens and continues from there. Good where a reply
    repeats its prompt or itself: edited code, summaries with quotes, tables.

    >>> NgramDrafter().guess([5, 6, 7, 8, 9, 5, 6, 7], 4)
    [8, 9, 5, 6]
    """

    def __init__(self, *, longest: int = 4, shortest: int = 2) -> None:
        self._sizes = range(longest, shortest - 1, -1)
        self._ends: dict[tuple[int, ...], int] = {}
        self._known = 0
        self._last = -1

    def guess(self, tokens: Sequence[int], count: int) -> list[int]:
        """What followed the latest place of the longest ending that was there before."""
        self._note_endings(tokens)
        for size in self._sizes:
            end = self._ends.get(tuple(tokens[-size:])) if len(tokens) > size else None
            if end is not None:
                return list(tokens[end : end + count])
        return []

    def _note_endings(self, tokens: Sequence[int]) -> None:
        """Note for each new place which few tokens end there; the present end is not noted yet."""
        if len(tokens) < self._known or (self._known and tokens[self._known - 1] != self._last):
            self._ends, self._known = {}, 0  # tokens were dropped or replaced
        for end in range(max(self._known, 1), len(tokens)):
            for size in self._sizes:
                if end >= size:
                    self._ends[tuple(tokens[end - size : end])] = end
        self._known = len(tokens)
        self._last = tokens[-1] if tokens else -1


class SessionDrafter:
    """Guesses what another model says, a smaller one of the same vocabulary, whose session it is given.

    `vocabulary`: how many tokens both models have; the logits may have more rows.
    """

    def __init__(self, session: Session, vocabulary: int | None = None) -> None:
        self._session = session
        self._vocabulary = min(session.vocabulary, vocabulary or session.vocabulary)

    def guess(self, tokens: Sequence[int], count: int) -> list[int]:
        """Its greedy continuation, as far as its context and the tokens that both models have go."""
        session = self._session
        count = min(count, session.context - len(tokens) - 1)
        if count < 1 or max(tokens, default=0) >= session.vocabulary:
            return []
        session.replace(tokens)
        guessed: list[int] = []
        while len(guessed) < count:
            guessed.append(int(np.argmax(session.logits()[: self._vocabulary])))
            if len(guessed) < count:
                session.extend(guessed[-1:])
        return guessed


class Pace:
    """How many tokens to guess next: more while guesses are right, none for a while when they are wrong.

    A guess that is wrong costs a part of a step. So each round that is all right doubles the number, up to
    `most`; one that is right for less than half halves it; and below one guessing rests for as many tokens
    as the last rest took and as many again.
    """

    def __init__(self, most: int = 8) -> None:
        self._most = most
        self._count = min(4, most)
        self._rest = 0
        self._last_rest = 4

    def next(self) -> int:
        """The number of tokens to guess now."""
        if self._rest:
            self._rest -= 1
            return 0
        return self._count

    def tell(self, guessed: int, right: int) -> None:
        """How the last round went."""
        if right == guessed:
            self._count = min(self._most, 2 * self._count)
            self._last_rest = 4
        elif 2 * right < guessed:
            self._count //= 2
            if not self._count:
                self._count = 1
                self._rest = self._last_rest
                self._last_rest = min(256, 2 * self._last_rest)


class Speculation:
    """The guesses of one reply: at the end of the session's tokens, not drawn yet.

    Without a drafter nothing is guessed.
    """

    def __init__(self, session: Session, drafter: Drafter | None) -> None:
        self.guessed = 0
        self.accepted = 0
        self._session = session
        self._drafter = drafter
        self._pace = Pace()
        self._round = 0
        self._left: list[int] = []

    def step(self, room: int) -> list[Array]:
        """Logits `[vocabulary]` after the last token and after each of at most `room` guesses."""
        count = min(room, self._pace.next()) if self._drafter is not None else 0
        if self._drafter is not None and count > 0:
            self._left = list(self._drafter.guess(self._session.tokens, count))
        if not self._left:
            return [self._session.logits()]
        self._round = len(self._left)
        self.guessed += self._round
        self._session.extend(self._left)
        return list(self._session.all_logits()[-1 - self._round :])

    def accepts(self, token: int) -> bool:
        """Whether the token that was drawn is the next guess; if it is not, the guesses are forgotten."""
        if self._left and self._left[0] == token:
            del self._left[0]
            self.accepted += 1
            if not self._left:
                self._pace.tell(self._round, self._round)
            return True
        if self._left:
            self._pace.tell(self._round, self._round - len(self._left))
            self.forget()
        return False

    def forget(self) -> None:
        """Take the guesses that are left out of the session."""
        self._session.rewind(self._session.length - len(self._left))
        self._left = []
