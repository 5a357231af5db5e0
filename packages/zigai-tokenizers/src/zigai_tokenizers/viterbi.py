"""The search of Unigram: the tokens of a text with the highest sum of scores.

Source: Kudo 2018 (arXiv:1804.10959); `Unigram` of the tokenizers library (`encode_optimized`, `tokenize`)
for the score of unknown characters, what becomes of them, and the order of the additions, of 64 bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zigai_core.contracts.errors import TokenizerError

UNKNOWN_PENALTY = 10.0
"""How far the score of an unknown character is below the lowest of all (sentencepiece: kUnkPenalty)."""

_REMEMBERED = 1 << 15
"""Words whose ids are remembered."""
_LONGEST = 64
"""Characters of the longest word that is remembered."""


class Viterbi:
    """The Viterbi algorithm over characters, with a table of the lengths of tokens by their first characters.

    For each character of a text it takes as many steps as tokens that begin with its pair of characters have
    different lengths, so its time is linear in the text.
    """

    def __init__(
        self,
        scores: Mapping[str, tuple[int, float]],
        lowest: float,
        unknown: int | None,
        byte_ids: Sequence[int] | None,
    ) -> None:
        """`scores` are ids and scores by text, `lowest` is the lowest score of the vocabulary.

        Unknown characters become `byte_ids`, the tokens of the 256 bytes, or `unknown`.
        """
        self._scores = scores
        self._penalty = lowest - UNKNOWN_PENALTY
        self._unknown = unknown
        self._bytes = byte_ids
        self._known: dict[str, list[int]] = {}
        lengths: dict[str, set[int]] = {}
        for text in scores:
            if len(text) > 1:
                lengths.setdefault(text[:2], set()).add(len(text))
        # Equal tuples are shared: thousands of pairs have the same few lengths.
        shared: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._lengths = {
            pair: shared.setdefault(key := tuple(sorted(found)), key) for pair, found in lengths.items()
        }

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text. Raises `TokenizerError` if a character has none."""
        tokens = self._known.get(text)
        if tokens is None:
            tokens = self._search(text)
            if len(text) <= _LONGEST:
                if len(self._known) >= _REMEMBERED:
                    self._known = {}  # not emptied: another thread may be reading it
                self._known[text] = tokens
        return tokens

    def _search(self, text: str) -> list[int]:
        size = len(text)
        scores, lengths = self._scores, self._lengths
        best = [0.0] * (size + 1)
        begins = [-1] * (size + 1)
        for begin in range(size):
            so_far = best[begin]
            end = begin + 1
            single = scores.get(text[begin])
            value = so_far + (self._penalty if single is None else single[1])
            if begins[end] < 0 or value > best[end]:
                best[end], begins[end] = value, begin
            for length in lengths.get(text[begin : begin + 2], ()):
                end = begin + length
                if end > size:
                    break
                found = scores.get(text[begin:end])
                if found is not None:
                    value = so_far + found[1]
                    if begins[end] < 0 or value > best[end]:
                        best[end], begins[end] = value, begin
        return self._path(text, begins)

    def _path(self, text: str, begins: Sequence[int]) -> list[int]:
        """Returns the ids of the best tokens. Neighbouring unknown characters are one part."""
        ends: list[tuple[int, int]] = []
        end = len(text)
        run = 0  # the end of a run of unknown characters, or 0
        while end:
            begin = begins[end]
            if end - begin == 1 and text[begin] not in self._scores:
                run = run or end
            else:
                if run:
                    ends.append((end, run))
                    run = 0
                ends.append((begin, end))
            end = begin
        if run:
            ends.append((0, run))
        tokens: list[int] = []
        for begin, end in reversed(ends):
            found = self._scores.get(text[begin:end])
            if found is not None:
                tokens.append(found[0])
            elif self._bytes is not None:
                tokens += [self._bytes[byte] for byte in text[begin:end].encode()]
            elif self._unknown is None:
                raise TokenizerError(
                    f"the text contains the character U+{ord(text[begin]):04X}, which is not in the "
                    "vocabulary, and that has neither byte tokens nor an unknown token for it"
                )
            else:
                tokens.append(self._unknown)
        return tokens
