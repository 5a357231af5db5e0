"""The `llama` kind: SentencePiece BPE with byte fallback, through the sentencepiece library."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from string import ascii_letters
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentencepiece import SentencePieceProcessor

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import FormatError, TokenizerError, escape, quote
from zigai_tokenizers.base import VocabularyTokenizer
from zigai_tokenizers.charsmap import check_charsmap
from zigai_tokenizers.chunks import chunks
from zigai_tokenizers.proto import bpe_model
from zigai_tokenizers.vocabulary import TokenType, Vocabulary, types_by_role

_SPACE = "\u2581"
_BYTE = re.compile("<0x([0-9A-F]{2})>")


class SentencePieceTokenizer(VocabularyTokenizer):
    """SentencePiece BPE (Kudo and Richardson 2018, arXiv:1808.06226) from tokens, scores and types.

    Adjacent characters merge into the vocabulary's highest-scored token, the leftmost of equals, until no
    pair is one; what is left over becomes its UTF-8 bytes' tokens. A space is U+2581, so the two cannot be
    told apart. With `add_space_prefix`, each stretch of text between special tokens gets a space in front,
    as llama.cpp has it; `decode` takes these away again.

    Where sentencepiece and llama.cpp differ on one vocabulary: control, unknown and byte tokens never come
    of merges (llama.cpp can merge `<`, `s>` into `<s>`, so that plain text forges it); unused ones are
    never emitted; `remove_extra_whitespaces` and `precompiled_charsmap`, which llama.cpp ignores in this
    kind, are obeyed. A vocabulary without byte tokens gives the unknown token for a run of characters it
    lacks. `add_eos` is the caller's matter: a prompt goes on.
    """

    def __init__(self, spec: TokenizerSpec) -> None:
        """`FormatError` for a specification whose parts disagree; about 0.1 s for 32,000 tokens."""
        vocabulary = Vocabulary(_with_byte_types(spec))
        encoded = vocabulary.encoded()
        byte_values = _byte_values(vocabulary)
        unknown = vocabulary.of_type(TokenType.UNKNOWN)
        self._unknown = vocabulary.special_ids.get("unknown", unknown[0] if unknown else None)
        self._byte_fallback = bool(byte_values)
        self._prefix = spec.add_space_prefix
        self._cut = _cut(spec, vocabulary) if self._byte_fallback else None
        self._processor = _processor(spec, vocabulary, encoded, byte_fallback=self._byte_fallback)

        texts = [text.replace(_SPACE.encode(), b" ") for text in encoded]
        for token, value in byte_values.items():
            texts[token] = bytes([value])
        super().__init__(vocabulary, spec, texts.__getitem__)
        boundaries = vocabulary.of_type(TokenType.CONTROL, TokenType.USER_DEFINED)
        if self._byte_fallback:  # else it stands for characters within a stretch of text
            boundaries += unknown
        self._boundaries = frozenset(boundaries)

    def decode(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """The text that `encode` made these tokens of; bytes that are no UTF-8 become U+FFFD.

        One space is dropped where `encode` puts one: in front, and after a control or user-defined token.
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
        # Older converters left U+2581 in user-defined tokens (runs of spaces), newer ones write the space.
        text = self._vocabulary.texts[token]
        if self._vocabulary.types[token] == TokenType.USER_DEFINED:
            text = text.replace(_SPACE, " ")
        return text

    def _encode_plain(self, text: str) -> list[int]:
        tokens: list[int] = []
        for number, chunk in enumerate(chunks(text, self._cut)):
            # A chunk but the first begins with a space. With `add_space_prefix` the library puts it there.
            chunk = chunk[1:] if number and self._prefix else chunk
            tokens += self._processor.encode(chunk.encode())
        if self._byte_fallback:
            return tokens
        return [self._known(token) for token in tokens]

    def _known(self, token: int) -> int:
        """`token`, or the file's unknown token for the one that was added after the last."""
        if token < self.vocabulary_size:
            return token
        if self._unknown is None:
            raise TokenizerError(
                "the text has characters that are not in the vocabulary, which has neither byte tokens "
                "nor an unknown token to stand for them"
            )
        return self._unknown


def _byte_values(vocabulary: Vocabulary) -> dict[int, int]:
    """The byte that each byte token stands for: all 256 of them, or none."""
    values: dict[int, int] = {}
    for token in vocabulary.of_type(TokenType.BYTE):
        match = _BYTE.fullmatch(vocabulary.texts[token])
        if match is None:
            raise FormatError(
                f"token {token} is of type byte, but its text {quote(vocabulary.texts[token])} is none of "
                "<0x00>..<0xFF>"
            )
        values[token] = int(match[1], 16)
    missing = set(range(256)).difference(values.values())
    if values and missing:
        raise FormatError(
            f"the vocabulary has {len(values)} of the 256 byte tokens: <0x{min(missing):02X}> is missing"
        )
    return values


def _cut(spec: TokenizerSpec, vocabulary: Vocabulary) -> re.Pattern[str] | None:
    """Where no token stretches across: before the space behind a letter that no token has there.

    None if there is no such letter, or text is normalised, which may join what lies on both sides.
    """
    if spec.precompiled_charsmap or spec.remove_extra_whitespaces or _SPACE not in vocabulary.ids:
        return None
    crossing = set(re.findall(f"(.){_SPACE}", "\n".join(vocabulary.texts)))
    crossing |= set(re.findall("(.) ", "\n".join(vocabulary.texts)))
    letters = "".join(letter for letter in ascii_letters if letter not in crossing)
    return re.compile(rf"(?<=[{letters}])(?= [\s\S])") if letters else None


def _scores(spec: TokenizerSpec, size: int) -> NDArray[np.float32]:
    if spec.scores is None:
        raise FormatError("the vocabulary has no scores, which SentencePiece needs to order its merges")
    scores = np.asarray(spec.scores)
    if scores.shape != (size,):
        raise FormatError(f"the vocabulary has {size} tokens but {scores.size} scores")
    if scores.dtype.kind not in "fiu":
        raise FormatError(f"the vocabulary's scores are {scores.dtype}, not numbers")
    wrong = np.flatnonzero(np.isnan(scores))
    if len(wrong):
        token = int(wrong[0])
        raise FormatError(f"token {token} {quote(spec.tokens[token])} has no number as its score")
    return scores.astype(np.float32)


def _processor(
    spec: TokenizerSpec, vocabulary: Vocabulary, encoded: Sequence[bytes], *, byte_fallback: bool
) -> Any:
    """A SentencePieceProcessor for plain text, with an unknown piece of its own after the vocabulary's last.

    User-defined tokens are normal pieces to it, since they are taken out of a text before. What no text may
    become is renamed to something that is no UTF-8, so that no text can.
    """
    charsmap = spec.precompiled_charsmap or b""
    if charsmap:
        check_charsmap(charsmap)
    scores = _scores(spec, vocabulary.size)
    pieces = list(encoded)
    types = np.where(vocabulary.types == TokenType.USER_DEFINED, TokenType.NORMAL, vocabulary.types)
    unreachable = vocabulary.of_type(TokenType.CONTROL, TokenType.UNKNOWN)
    # The library writes about a NUL to standard error; it makes the text's NUL its byte token in any case.
    unreachable += [token for token, piece in enumerate(pieces) if not piece or piece == b"\0"]
    for token in unreachable:
        pieces[token] = b"\xff%d" % token
        types[token] = TokenType.CONTROL
    model = bpe_model(
        [*pieces, b"\xff"],
        np.append(scores, np.float32(0)),
        np.append(types, TokenType.UNKNOWN),
        byte_fallback=byte_fallback,
        add_dummy_prefix=spec.add_space_prefix,
        remove_extra_whitespaces=spec.remove_extra_whitespaces,
        precompiled_charsmap=charsmap,
    )
    try:
        return SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise FormatError(
            f"the sentencepiece library refuses the vocabulary: {escape(str(error))}"
        ) from error


def _with_byte_types(spec: TokenizerSpec) -> TokenizerSpec:
    """`spec` with types where the file has none: bytes by their spelling, others as `types_by_role` says."""
    if spec.types is not None:
        return spec
    types = types_by_role(spec)
    for token, text in enumerate(spec.tokens):
        if types[token] == TokenType.NORMAL and _BYTE.fullmatch(text):
            types[token] = TokenType.BYTE
    return replace(spec, types=types)
