"""The tokenizer of kind `gpt2`: byte-level BPE from tokens and merges, on the tokenizers library."""

from __future__ import annotations

import gc
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat

from tokenizers import Regex
from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import FormatError, TokenizerError, UnsupportedError, escape, quote
from zigai_tokenizers.base import VocabularyTokenizer
from zigai_tokenizers.byte_alphabet import CHARACTERS, spelled_bytes
from zigai_tokenizers.chunks import chunks
from zigai_tokenizers.pre_tokenizers import PreTokenizer, find_pre_tokenizer, name_of, of_patterns
from zigai_tokenizers.vocabulary import TokenType, Vocabulary

Merges = list[tuple[str, str]]

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
        with _no_collection():
            self._tokenizer = _library_tokenizer(spec, vocabulary, pre_tokenizer)

    def _encode_plain(self, text: str) -> list[int]:
        if self._composes:
            text = unicodedata.normalize("NFC", text)
        if self._missing:
            lacking = text.encode().translate(None, self._present)
            if lacking:
                raise TokenizerError(
                    f"the text contains the byte 0x{lacking[0]:02X}, which has no token in this vocabulary"
                )
        tokens: list[int] = []
        for chunk in chunks(text, self._cut):
            tokens += self._encode_chunk(chunk)
        return tokens

    def _encode_chunk(self, text: str) -> list[int]:
        try:
            # The same ids as `encode` in half the time, because offsets are not computed.
            (encoding,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)
        except BaseException as error:
            # A panic of the library is not an `Exception`. Its regular expressions fail on runs of millions
            # of equal characters.
            if type(error).__name__ != "PanicException":
                raise
            raise TokenizerError(f"the tokenizers library failed on the text: {escape(str(error))}") from None
        tokens: list[int] = encoding.ids
        return tokens


def _library_tokenizer(
    spec: TokenizerSpec, vocabulary: Vocabulary, pre_tokenizer: PreTokenizer
) -> LibraryTokenizer:
    """Returns a library tokenizer for plain text, without the tokens that plain text must not produce."""
    ids = dict(vocabulary.ids)
    for token in vocabulary.of_type(TokenType.CONTROL, TokenType.UNKNOWN):
        ids.pop(vocabulary.texts[token], None)
    merges = _merges(spec)
    whole = pre_tokenizer.whole_words
    try:
        model = BPE(vocab=ids, merges=merges, ignore_merges=whole)
    except Exception:  # a merge needs a token that is missing or was removed above
        model = BPE(vocab=ids, merges=_plain_merges(merges, ids, vocabulary), ignore_merges=whole)
    tokenizer = LibraryTokenizer(model)
    words = [Split(Regex(pattern), behavior="isolated") for pattern in pre_tokenizer.patterns]
    tokenizer.pre_tokenizer = Sequence([*words, ByteLevel(add_prefix_space=False, use_regex=False)])
    return tokenizer


@contextmanager
def _no_collection() -> Iterator[None]:
    """Disables garbage collection, which would traverse half a million new strings and pairs repeatedly."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _merges(spec: TokenizerSpec) -> Merges:
    """Returns the merges as pairs, in order. Raises `FormatError` for missing or duplicate merges."""
    if spec.merges is None:
        raise FormatError("the vocabulary has no merges, which byte-level BPE needs")
    lines = list(spec.merges)
    if len(set(lines)) != len(lines):
        first: dict[str, int] = {}
        for number, line in enumerate(lines):
            if first.setdefault(line, number) != number:
                raise FormatError(f"merges {first[line]} and {number} are both {quote(line)}")
    return [(left, right) for left, _, right in map(str.partition, lines, repeat(" "))]


def _plain_merges(merges: Merges, ids: dict[str, int], vocabulary: Vocabulary) -> Merges:
    """Returns the merges without those of control tokens. Raises `FormatError` if a token is missing."""
    plain = []
    for number, (left, right) in enumerate(merges):
        if not left or not right or " " in right:
            raise FormatError(f"merge {number} is {quote(left)} and {quote(right)}, which are not two tokens")
        missing = [text for text in (left, right, left + right) if text not in ids]
        if not missing:
            plain.append((left, right))
        elif missing[0] not in vocabulary.ids:
            raise FormatError(
                f"merge {number}, {quote(left)} with {quote(right)}, needs {quote(missing[0])}, "
                "which is not a token"
            )
    return plain
