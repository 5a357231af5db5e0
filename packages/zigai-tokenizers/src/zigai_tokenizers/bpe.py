"""The tokenizer of the kinds `bpe` and `gemma4`: BPE of characters by merges with byte fallback.

On the tokenizers library.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers.pre_tokenizers import Sequence as SequenceOf

from zigai_core.contracts.descriptor import TokenizerSpec, TokenType
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_tokenizers.base import VocabularyTokenizer
from zigai_tokenizers.byte_tokens import SPACE, byte_values
from zigai_tokenizers.library import bpe_model, plain_ids, splits_at
from zigai_tokenizers.vocabulary import Vocabulary
from zigai_tokenizers.words import SPLIT_AT_SPACES, Words, boundaries

_NORMALIZERS = (None, "NFC")
_UNREACHABLE = (TokenType.CONTROL, TokenType.UNKNOWN, TokenType.UNUSED)


class BPETokenizer(VocabularyTokenizer):
    """BPE of characters (Sennrich et al. 2016, arXiv:1508.07909) as tokenizer.json has it of SentencePiece.

    Spaces become U+2581, and one is put before texts by `add_space_prefix` and `prefix_scheme`. The earliest
    merge of the list comes first, the leftmost of equal pairs. Characters without a token become the byte
    tokens of their UTF-8 encoding. Ids are those of the tokenizers library; one difference: merges never
    produce control tokens.

    SentencePiece itself orders merges by the score of the token that they give. Where several pairs give one
    token, their ranks in the list may differ from the order in the text, so the ids may differ as well.
    """

    def __init__(self, spec: TokenizerSpec) -> None:
        """Raises `FormatError` for an inconsistent specification, `UnsupportedError` for a normaliser."""
        if spec.normalizer not in _NORMALIZERS:
            raise UnsupportedError(f"the normalizer {quote(spec.normalizer)} is not supported; NFC is")
        self._composes = spec.normalizer == "NFC"
        self._late = spec.prefix_scheme != "prepend"
        self._scheme = spec.prefix_scheme if spec.add_space_prefix else "never"
        vocabulary = Vocabulary(spec)
        values = byte_values(vocabulary, characters=True)
        if not values:
            raise FormatError("the vocabulary has no byte tokens, which BPE of characters needs")

        def spell(token: int) -> bytes:
            if token in values:
                return bytes([values[token]])
            return vocabulary.texts[token].replace(SPACE, " ").encode()

        super().__init__(vocabulary, spec, spell)
        ids = plain_ids(vocabulary, *_UNREACHABLE)
        splits = tuple(spec.splits or ())
        self._whole_texts = ids if spec.ignore_merges and not splits else {}
        self._words = Words(_library_tokenizer(spec, vocabulary, ids, splits), boundaries(ids, splits))
        special = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.USER_DEFINED)
        self._after = frozenset(vocabulary.of_type(*special))
        self._bos = self.special_ids.get("bos")

    def decode(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """Returns the text of tokens, the inverse of `encode`. Bytes that are not valid UTF-8 become U+FFFD.

        A space is removed where `encode` adds one: at the start of a text, and, unless it is only put before
        the first, after a control, unknown or user-defined token. `special` includes control tokens. Raises
        `TokenizerError` for an id out of range.
        """
        pieces = (self._shown if special else self._plain).of(tokens)
        begins = self._scheme != "never"
        for index, token in enumerate(tokens):
            if token in self._after:
                begins = self._scheme in ("prepend", "always") or (begins and token == self._bos)
            elif begins:
                pieces[index] = pieces[index].removeprefix(b" ")
                begins = False
        return b"".join(pieces).decode(errors="replace")

    def _normalize(self, text: str) -> str:
        if self._composes:
            text = unicodedata.normalize("NFC", text)
        if self._late:
            return text
        return (SPACE if self._scheme == "prepend" else "") + text.replace(" ", SPACE)

    def _encode_plain(self, text: str, begins: bool) -> list[int]:
        if self._late:
            text = text.replace(" ", SPACE)
            if (self._scheme == "always" or (self._scheme == "first" and begins)) and text[0] != SPACE:
                text = SPACE + text
        whole = self._whole_texts.get(text)
        return self._words.encode(text) if whole is None else [whole]


def _library_tokenizer(
    spec: TokenizerSpec, vocabulary: Vocabulary, ids: dict[str, int], splits: tuple[str, ...]
) -> LibraryTokenizer:
    """Returns a library tokenizer for normalised text without special tokens."""
    whole = spec.ignore_merges and bool(splits)
    model = bpe_model(spec, vocabulary, ids, byte_fallback=True, ignore_merges=whole)
    tokenizer = LibraryTokenizer(model)
    if splits and splits != (SPLIT_AT_SPACES,):
        tokenizer.pre_tokenizer = SequenceOf(splits_at(splits))
    return tokenizer
