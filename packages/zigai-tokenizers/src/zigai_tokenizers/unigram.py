"""The tokenizer of kind `unigram`: Unigram as tokenizer.json has it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from zigai_core.contracts.descriptor import TokenizerSpec, TokenType
from zigai_core.contracts.errors import FormatError, TokenizerError, UnsupportedError, escape, quote
from zigai_tokenizers.base import VocabularyTokenizer
from zigai_tokenizers.byte_tokens import SPACE, byte_values
from zigai_tokenizers.chunks import chunks
from zigai_tokenizers.normalization import normalizer_of
from zigai_tokenizers.special_tokens import WHITE_SPACE
from zigai_tokenizers.unigram_limits import check_lengths, check_scores
from zigai_tokenizers.viterbi import Viterbi
from zigai_tokenizers.vocabulary import Vocabulary
from zigai_tokenizers.words import SPLIT_AT_SPACES

_UNREACHABLE = (TokenType.CONTROL, TokenType.UNKNOWN, TokenType.UNUSED)
_WHITE = re.compile(f"[{WHITE_SPACE}]+")
_WORD = re.compile(f"{SPLIT_AT_SPACES}|[^{SPACE}]+")
_CUT = re.compile("(?<=[A-Za-z])(?= [A-Za-z])")
"""Positions where a chunk may end: a space between letters of ASCII, to which no step of normalisation does
anything that depends on what is beyond it."""


class UnigramTokenizer(VocabularyTokenizer):
    """Unigram (Kudo 2018, arXiv:1804.10959) with the ids of the tokenizers library: XLM-R, T5, bge-m3.

    A text is normalised by the steps of `normalizers`; words end at spaces, which become U+2581, by `splits`,
    and at white space by `white_space_ends_words`. Of all ways to make a word of tokens, that of the highest
    sum of scores is taken. A character that is no token has a score 10 below the lowest; a run of such
    becomes one unknown token, or byte tokens if there are all. One difference from the library: control
    tokens and the unknown token are never produced by their text, even if normalisation gives it.
    """

    def __init__(self, spec: TokenizerSpec) -> None:
        """Raises `FormatError` for an inconsistent specification, `UnsupportedError` for a setting."""
        if spec.normalizer is not None:
            raise UnsupportedError(
                f"the normalizer {quote(spec.normalizer)} is not supported with Unigram: use `normalizers`"
            )
        if tuple(spec.splits or ()) not in ((), (SPLIT_AT_SPACES,)):
            raise UnsupportedError(
                f"Unigram cannot split texts by {quote(list(spec.splits or ()))}; {quote([SPLIT_AT_SPACES])} "
                "is supported"
            )
        self._scheme = spec.prefix_scheme if spec.add_space_prefix else "never"
        if self._scheme == "first" and (spec.normalizers or spec.white_space_ends_words):
            raise UnsupportedError(
                "a space before the first text only is not supported with Unigram that normalises texts"
            )
        if self._scheme == "prepend":
            raise UnsupportedError(
                "the prefix_scheme 'prepend' is not supported with Unigram; 'always' and 'first' are"
            )
        self._split = bool(spec.splits)
        self._at_white_space = spec.white_space_ends_words
        self._normalizer = normalizer_of(spec)
        check_lengths(spec)
        vocabulary = Vocabulary(spec)
        values = byte_values(vocabulary)
        self._cut = _CUT if self._split and not any("left" in step[-1] for step in spec.normalizers) else None
        self._viterbi = _viterbi(spec, vocabulary, values)

        def spell(token: int) -> bytes:
            if token in values:
                return bytes([values[token]])
            return vocabulary.texts[token].replace(SPACE, " ").encode()

        super().__init__(vocabulary, spec, spell)
        special = (TokenType.CONTROL, TokenType.USER_DEFINED)
        self._after = frozenset(vocabulary.of_type(*special))
        self._bos = self.special_ids.get("bos")

    def decode(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """Returns the text of tokens. Bytes that are not valid UTF-8 become U+FFFD.

        A space is removed where `encode` adds one: at the start of a text, and, unless it is only put before
        the first, after a control or user-defined token. What normalisation has changed is not restored.
        `special` includes control tokens. Raises `TokenizerError` for an id out of range.
        """
        pieces = (self._shown if special else self._plain).of(tokens)
        begins = self._scheme != "never"
        for index, token in enumerate(tokens):
            if token in self._after:
                begins = self._scheme == "always" or (begins and token == self._bos)
            elif begins:
                pieces[index] = pieces[index].removeprefix(b" ")
                begins = False
        return b"".join(pieces).decode(errors="replace")

    def _normalize(self, text: str) -> str:
        if self._normalizer is None:
            return text
        try:
            return "".join(map(self._normalizer.normalize_str, chunks(text, self._cut)))
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # of the library; it is not an `Exception`
                raise
            raise TokenizerError(f"the tokenizers library failed on the text: {escape(str(error))}") from None

    def _encode_plain(self, text: str, begins: bool) -> list[int]:
        tokens: list[int] = []
        for word in self._words(text, begins):
            tokens += self._viterbi.encode(word)
        return tokens

    def _words(self, text: str, begins: bool) -> Iterator[str]:
        """Yields the words of a normalised text, with U+2581 for spaces."""
        adds = self._scheme == "always" or (self._scheme == "first" and begins)
        for part in filter(None, _WHITE.split(text)) if self._at_white_space else [text]:
            part = part.replace(" ", SPACE)
            if adds and part and not part.startswith(SPACE):
                part = SPACE + part
            if self._split:
                yield from _WORD.findall(part)
            elif part:
                yield part


def _viterbi(spec: TokenizerSpec, vocabulary: Vocabulary, values: dict[int, int]) -> Viterbi:
    """Returns the search over the tokens that a text may contain. Raises `FormatError` for missing scores."""
    if spec.scores is None:
        raise FormatError("the vocabulary has no scores, which Unigram needs")
    check_scores(spec, absent=True)
    scores = np.asarray(spec.scores)
    if scores.shape != (vocabulary.size,) or scores.dtype.kind != "f":
        raise FormatError(
            f"the vocabulary has {vocabulary.size} tokens but scores of shape {list(scores.shape)} and dtype "
            f"{scores.dtype}"
        )
    if np.isnan(scores).any():
        raise FormatError(f"the score of token {int(np.flatnonzero(np.isnan(scores))[0])} is NaN")
    inside = scores != -np.inf
    unknown = vocabulary.special_ids.get("unknown")
    if unknown is None:
        raise FormatError("the vocabulary has no unknown token, which Unigram needs")
    hidden = frozenset(vocabulary.of_type(*_UNREACHABLE)) | {unknown}
    floats = scores.astype(np.float64).tolist()
    known = {
        text: (token, floats[token])
        for text, token in vocabulary.ids.items()
        if token not in hidden and inside[token]
    }
    lowest = float(scores[inside].min()) if inside.any() else 0.0
    tokens = {value: token for token, value in values.items()}
    return Viterbi(known, lowest, unknown, [tokens[byte] for byte in range(256)] if tokens else None)
