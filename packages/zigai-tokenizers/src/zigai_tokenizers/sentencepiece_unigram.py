"""The tokenizer of kind `t5`: SentencePiece Unigram, on the sentencepiece library."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TokenizerSpec, TokenType
from zigai_tokenizers.proto import UNIGRAM
from zigai_tokenizers.sentencepiece import SentencePieceTokenizer, renamed
from zigai_tokenizers.unigram_limits import check_lengths, check_scores
from zigai_tokenizers.vocabulary import Vocabulary


class SentencePieceUnigramTokenizer(SentencePieceTokenizer):
    """SentencePiece Unigram (Kudo 2018, arXiv:1804.10959) from tokens, scores and types: T5, XLM-R, bge-m3.

    A text is normalised by `precompiled_charsmap` and, with `remove_extra_whitespaces`, loses spaces at its
    ends and beside others; spaces become U+2581. Of all ways to make it of tokens, that of the highest sum
    of scores (logarithms of probabilities) is taken, found by the Viterbi algorithm. A character that is no
    token has a score 10 below the lowest; a run of such becomes one unknown token, or byte tokens.

    Ids are those of sentencepiece, which adds up scores in 32 bits. llama.cpp (`llm_tokenizer_ugm_session`)
    does in 64 bits, so that of two ways of almost equal sums it may take the other; it takes unused tokens,
    too, and no byte tokens, and puts no space before a text of spaces alone. As there, texts between special
    tokens are encoded each on its own.
    """

    _model_type = UNIGRAM

    def __init__(self, spec: TokenizerSpec) -> None:
        """Raises `FormatError` for an inconsistent specification, `UnsupportedError` for too long tokens."""
        check_lengths(spec)
        check_scores(spec)
        super().__init__(spec)

    @staticmethod
    def _pieces(vocabulary: Vocabulary, encoded: Sequence[bytes]) -> tuple[list[bytes], NDArray[np.int64]]:
        """Returns texts and types for the library.

        User-defined tokens stay such: their scores must not count for the lowest one, and normalisation may
        produce their text. The library's trie ends keys at a NUL, so pieces with one are out of reach.
        """
        unreachable = vocabulary.of_type(TokenType.CONTROL, TokenType.UNKNOWN)
        unreachable += [token for token, piece in enumerate(encoded) if not piece or b"\0" in piece]
        return renamed(encoded, vocabulary.types.copy(), unreachable)
