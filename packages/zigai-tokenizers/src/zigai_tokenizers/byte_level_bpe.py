"""The tokenizer of kind `gpt2`: byte-level BPE from tokens and merges, on the tokenizers library."""

from __future__ import annotations

import re
import unicodedata

from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers.pre_tokenizers import ByteLevel, Sequence

from zigai_core.contracts.descriptor import TokenizerSpec, TokenType
from zigai_core.contracts.errors import TokenizerError, UnsupportedError, quote
from zigai_tokenizers.base import VocabularyTokenizer
from zigai_tokenizers.byte_alphabet import CHARACTERS, spelled_bytes
from zigai_tokenizers.chunks import chunks
from zigai_tokenizers.library import bpe_model, encode_text, plain_ids, splits_at
from zigai_tokenizers.pre_tokenizers import PreTokenizer, find_pre_tokenizer, name_of, of_patterns
from zigai_tokenizers.vocabulary import Vocabulary

_SPELT_OUT = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.BYTE)
"""Types of tokens whose text is plain text, not characters of the byte alphabet."""


class ByteLevelBPETokenizer(VocabularyTokenizer):
    """Byte-level BPE (Radford et al. 2019, GPT-2; Sennrich et al. 2016, arXiv:1508.07909).

    The pre-tokeniser that the file names splits the text into words. The UTF-8 bytes of each word are merged:
    the earliest merge of the list first, the leftmost of equal pairs. Text is normalised only if the
    specification asks for it; otherwise, as with GGUF files, `decode` returns the text that was encoded.
    """

    def __init__(self, spec: TokenizerSpec, *, pre_tokenizer: PreTokenizer | None = None) -> None:
        """`pre_tokenizer` overrides the one that the file names.

        Raises `FormatError` for an inconsistent specification, `UnsupportedError` for an unknown name.
        """
        if pre_tokenizer is None and spec.splits is not None:
            pre_tokenizer = of_patterns(spec.splits, whole_words=spec.ignore_merges)
        elif pre_tokenizer is None:
            pre_tokenizer = find_pre_tokenizer(spec.pre_tokenizer)
        self.pre_tokenizer = spec.pre_tokenizer or name_of(pre_tokenizer)
        """GGUF's name of the pre-tokeniser, None if it has none."""
        if spec.normalizer not in (None, "NFC"):
            raise UnsupportedError(f"the normalizer {quote(spec.normalizer)} is not supported; NFC is")
        self._composes = spec.normalizer == "NFC"
        vocabulary = Vocabulary(spec)
        spelt_out = frozenset(vocabulary.of_type(*_SPELT_OUT))

        def spell(token: int) -> bytes:
            text = vocabulary.texts[token]
            return text.encode() if token in spelt_out else spelled_bytes(text)

        super().__init__(vocabulary, spec, spell)
        self._cut = None if pre_tokenizer.cut is None else re.compile(pre_tokenizer.cut)
        self._missing = bytes(byte for byte in range(256) if CHARACTERS[byte] not in vocabulary.ids)
        self._present = bytes(byte for byte in range(256) if CHARACTERS[byte] in vocabulary.ids)
        self._tokenizer = _library_tokenizer(spec, vocabulary, pre_tokenizer)

    def _normalize(self, text: str) -> str:
        return unicodedata.normalize("NFC", text) if self._composes else text

    def _encode_plain(self, text: str, begins: bool) -> list[int]:
        if self._missing:
            lacking = text.encode().translate(None, self._present)
            if lacking:
                raise TokenizerError(
                    f"the text contains the byte 0x{lacking[0]:02X}, which has no token in this vocabulary"
                )
        tokens: list[int] = []
        for chunk in chunks(text, self._cut):
            tokens += encode_text(self._tokenizer, chunk)
        return tokens


def _library_tokenizer(
    spec: TokenizerSpec, vocabulary: Vocabulary, pre_tokenizer: PreTokenizer
) -> LibraryTokenizer:
    """Returns a library tokenizer for plain text, without the tokens that plain text must not produce."""
    ids = plain_ids(vocabulary, TokenType.CONTROL, TokenType.UNKNOWN)
    tokenizer = LibraryTokenizer(bpe_model(spec, vocabulary, ids, ignore_merges=pre_tokenizer.whole_words))
    words = splits_at(pre_tokenizer.patterns)
    tokenizer.pre_tokenizer = Sequence([*words, ByteLevel(add_prefix_space=False, use_regex=False)])
    return tokenizer
