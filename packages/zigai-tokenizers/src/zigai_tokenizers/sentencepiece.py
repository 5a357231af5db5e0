"""The tokenizer of kind `llama`: SentencePiece BPE with byte fallback, on the sentencepiece library."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from string import ascii_letters
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentencepiece import SentencePieceProcessor

from zigai_core.contracts.descriptor import TokenizerSpec, TokenType
from zigai_core.contracts.errors import FormatError, TokenizerError, escape, quote
from zigai_tokenizers.base import VocabularyTokenizer
from zigai_tokenizers.byte_tokens import BYTE, SPACE, byte_values
from zigai_tokenizers.charsmap import check_charsmap
from zigai_tokenizers.chunks import chunks
from zigai_tokenizers.proto import BPE, model_proto
from zigai_tokenizers.vocabulary import Vocabulary, types_by_role


class SentencePieceTokenizer(VocabularyTokenizer):
    """SentencePiece BPE (Kudo and Richardson 2018, arXiv:1808.06226) from tokens, scores and types.

    The adjacent pair whose token has the highest score is merged first, the leftmost of equal scores, until
    no pair is a token. Characters without a token become the byte tokens of their UTF-8 encoding. Spaces are
    stored as U+2581, so the two characters are not distinguished. With `add_space_prefix`, a space is put
    before each text between special tokens, as in llama.cpp; `decode` removes it.

    Differences from llama.cpp, as in sentencepiece: merges never produce control, unknown or byte tokens
    (llama.cpp can merge `<` and `s>` into `<s>`, so plain text can produce it); unused tokens are never
    produced; `remove_extra_whitespaces` and `precompiled_charsmap`, which llama.cpp ignores for this kind,
    are applied. Without byte tokens, a run of characters that the vocabulary lacks becomes one unknown token.
    `add_eos` is not used, because a prompt is continued.
    """

    _model_type = BPE

    def __init__(self, spec: TokenizerSpec) -> None:
        """Raises `FormatError` for an inconsistent specification. Takes about 0.1 s for 32,000 tokens."""
        vocabulary = Vocabulary(_with_byte_types(spec))
        encoded = vocabulary.encoded()
        values = byte_values(vocabulary)
        unknown = vocabulary.of_type(TokenType.UNKNOWN)
        self._unknown = vocabulary.special_ids.get("unknown", unknown[0] if unknown else None)
        self._byte_fallback = bool(values)
        self._prefix = spec.add_space_prefix
        self._cut = _cut(spec, vocabulary) if self._byte_fallback and self._model_type == BPE else None
        pieces, types = self._pieces(vocabulary, encoded)
        self._processor = _processor(
            spec, pieces, types, model_type=self._model_type, byte_fallback=self._byte_fallback
        )

        texts = [text.replace(SPACE.encode(), b" ") for text in encoded]
        for token, value in values.items():
            texts[token] = bytes([value])
        super().__init__(vocabulary, spec, texts.__getitem__)
        boundaries = vocabulary.of_type(TokenType.CONTROL, TokenType.USER_DEFINED)
        if self._byte_fallback:  # without byte tokens, it represents characters within a text
            boundaries += unknown
        self._boundaries = frozenset(boundaries)

    def decode(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """Returns the text of tokens, the inverse of `encode`. Bytes that are not valid UTF-8 become U+FFFD.

        A space is removed where `encode` adds one: at the start, and after a control or user-defined token.
        `special` includes control tokens. Raises `TokenizerError` for an id out of range.
        """
        pieces = (self._shown if special else self._plain).of(tokens)
        if self._prefix:
            start = True
            for index, token in enumerate(tokens):
                if token in self._boundaries:
                    start = True
                elif start:
                    pieces[index] = pieces[index].removeprefix(b" ")
                    start = False
        return b"".join(pieces).decode(errors="replace")

    def _spelling(self, token: int) -> str:
        # In user-defined tokens (runs of spaces) older converters keep U+2581, newer ones write a space.
        text = self._vocabulary.texts[token]
        if self._vocabulary.types[token] == TokenType.USER_DEFINED:
            text = text.replace(SPACE, " ")
        return text

    def _encode_plain(self, text: str, begins: bool) -> list[int]:
        tokens: list[int] = []
        for number, chunk in enumerate(chunks(text, self._cut)):
            # Every chunk but the first begins with a space, which the library adds with `add_space_prefix`.
            chunk = chunk[1:] if number and self._prefix else chunk
            tokens += self._processor.encode(chunk.encode())
        if self._byte_fallback:
            return tokens
        return [self._known(token) for token in tokens]

    @staticmethod
    def _pieces(vocabulary: Vocabulary, encoded: Sequence[bytes]) -> tuple[list[bytes], NDArray[np.int64]]:
        """Returns texts and types for the library.

        User-defined tokens are normal pieces in it, because they are split off before. Pieces that no text
        may produce are renamed to bytes that are not valid UTF-8.
        """
        types = np.where(vocabulary.types == TokenType.USER_DEFINED, TokenType.NORMAL, vocabulary.types)
        unreachable = vocabulary.of_type(TokenType.CONTROL, TokenType.UNKNOWN)
        # The library warns about a piece of a NUL on standard error; NULs become byte tokens anyway.
        unreachable += [token for token, piece in enumerate(encoded) if not piece or piece == b"\0"]
        return renamed(encoded, types, unreachable)

    def _known(self, token: int) -> int:
        """Returns `token`, or the vocabulary's unknown token for the piece that `_processor` adds."""
        if token < self.vocabulary_size:
            return token
        if self._unknown is None:
            raise TokenizerError(
                "the text contains characters that are not in the vocabulary, which has neither byte tokens "
                "nor an unknown token for them"
            )
        return self._unknown


def _cut(spec: TokenizerSpec, vocabulary: Vocabulary) -> re.Pattern[str] | None:
    """Returns a pattern of positions that no token spans.

    They are between a letter and a space, for the letters that precede a space in no token. None if there are
    no such letters, or if text is normalised, which may join both sides of a cut.
    """
    if spec.precompiled_charsmap or spec.remove_extra_whitespaces or SPACE not in vocabulary.ids:
        return None
    crossing = set(re.findall(f"(.){SPACE}", "\n".join(vocabulary.texts)))
    crossing |= set(re.findall("(.) ", "\n".join(vocabulary.texts)))
    letters = "".join(letter for letter in ascii_letters if letter not in crossing)
    return re.compile(rf"(?<=[{letters}])(?= [\s\S])") if letters else None


def _scores(spec: TokenizerSpec, size: int) -> NDArray[np.float32]:
    if spec.scores is None:
        raise FormatError("the vocabulary has no scores, which SentencePiece needs")
    scores = np.asarray(spec.scores)
    if scores.shape != (size,):
        raise FormatError(f"the vocabulary has {size} tokens but {scores.size} scores")
    if scores.dtype.kind not in "fiu":
        raise FormatError(f"the vocabulary's scores have dtype {scores.dtype}, which is not numeric")
    wrong = np.flatnonzero(np.isnan(scores))
    if len(wrong):
        token = int(wrong[0])
        raise FormatError(f"the score of token {token} {quote(spec.tokens[token])} is NaN")
    with np.errstate(over="ignore"):
        floats = scores.astype(np.float32)
    wrong = np.flatnonzero(np.isinf(floats) & np.isfinite(scores))
    if len(wrong):
        token = int(wrong[0])
        raise FormatError(
            f"the score of token {token} {quote(spec.tokens[token])} is {scores[token]}, beyond float32"
        )
    return floats


def renamed(
    encoded: Sequence[bytes], types: NDArray[np.int64], unreachable: Sequence[int]
) -> tuple[list[bytes], NDArray[np.int64]]:
    """Returns texts and types with control tokens of texts that do not occur in place of `unreachable`."""
    pieces = list(encoded)
    for token in unreachable:
        pieces[token] = b"\xff%d" % token
        types[token] = TokenType.CONTROL
    return pieces, types


def _processor(
    spec: TokenizerSpec,
    pieces: Sequence[bytes],
    types: NDArray[np.int64],
    *,
    model_type: int,
    byte_fallback: bool,
) -> Any:
    """Returns a SentencePieceProcessor for plain text, with an unknown piece added after the vocabulary."""
    charsmap = spec.precompiled_charsmap or b""
    if charsmap:
        check_charsmap(charsmap)
    model = model_proto(
        [*pieces, b"\xff"],
        np.append(_scores(spec, len(pieces)), np.float32(0)),
        np.append(types, TokenType.UNKNOWN),
        model_type=model_type,
        byte_fallback=byte_fallback,
        add_dummy_prefix=spec.add_space_prefix,
        remove_extra_whitespaces=spec.remove_extra_whitespaces,
        precompiled_charsmap=charsmap,
    )
    try:
        return SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise FormatError(
            f"the sentencepiece library rejects the vocabulary: {escape(str(error))}"
        ) from error


def _with_byte_types(spec: TokenizerSpec) -> TokenizerSpec:
    """Returns `spec` with types if it has none: byte tokens by spelling, others by `types_by_role`."""
    if spec.types is not None:
        return spec
    types = types_by_role(spec)
    for token, text in enumerate(spec.tokens):
        if types[token] == TokenType.NORMAL and BYTE.fullmatch(text):
            types[token] = TokenType.BYTE
    return replace(spec, types=types)
