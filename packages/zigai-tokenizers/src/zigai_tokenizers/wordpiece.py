"""The tokenizer of kind `bert`: WordPiece, on the tokenizers library."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from zigai_core.contracts.descriptor import TokenizerSpec, TokenType
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_tokenizers.base import VocabularyTokenizer
from zigai_tokenizers.byte_tokens import SPACE
from zigai_tokenizers.chunks import chunks
from zigai_tokenizers.library import encode_text
from zigai_tokenizers.vocabulary import Vocabulary

LONGEST_WORD = 1000
"""Limit of `TokenizerSpec.longest_word`: the time for a word grows with the square of its length."""

_SPECIAL = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.USER_DEFINED)
_UNREACHABLE = (*_SPECIAL, TokenType.UNUSED)
_NOWHERE = " "
"""A text that no word contains, since words end at spaces."""

_CUT = r"(?=[ \t\n\r!-/:-@\[-`{-~])"
"""Positions where a chunk may end: before a space or punctuation of ASCII, where every word ends."""


class WordPieceTokenizer(VocabularyTokenizer):
    """WordPiece (Schuster and Nakajima 2012; Devlin et al. 2018, arXiv:1810.04805), as in BERT.

    A text is normalised by `TokenizerSpec.words` and split at white space, punctuation and, with `chinese`,
    around Chinese characters. Of each word the longest token that it begins with is taken, then the longest
    that goes on, to its end; a word of which a part is no token becomes the unknown token, as does one longer
    than `longest_word`. Ids are those of the tokenizers library (`BertNormalizer`, `BertPreTokenizer`,
    `WordPiece`). llama.cpp (`llm_tokenizer_wpm_session`) differs in words of more than 100 characters and in
    some characters that are neither ASCII nor Chinese.
    """

    def __init__(self, spec: TokenizerSpec) -> None:
        """Raises `FormatError` for an inconsistent specification, `UnsupportedError` for a setting."""
        if spec.normalizer is not None:
            raise UnsupportedError(
                f"the normalizer {quote(spec.normalizer)} is not supported with WordPiece, which has its own"
            )
        if not 1 <= spec.longest_word <= LONGEST_WORD:
            raise UnsupportedError(
                f"words of at most {spec.longest_word} characters are not supported; 1 to {LONGEST_WORD} are"
            )
        vocabulary = Vocabulary(spec)
        if "unknown" not in vocabulary.special_ids:
            raise FormatError("the vocabulary has no unknown token, which WordPiece needs")
        if spec.add_eos and "eos" not in vocabulary.special_ids:
            raise FormatError("the file asks for a token at the end of a text but gives no id for it")
        special = frozenset(vocabulary.of_type(*_SPECIAL)) | {vocabulary.special_ids["unknown"]}
        prefix = spec.continuing_prefix
        self._phantom = prefix is None
        self._special_tokens = special

        def spell(token: int) -> bytes:
            if token in special:
                return self._spelling(token).encode()
            begins, text = _parts(vocabulary.texts[token], prefix)
            return (" " + text if begins else text).encode()

        self._normalizer = BertNormalizer(
            clean_text=spec.words.clean,
            handle_chinese_chars=spec.words.chinese,
            strip_accents=spec.words.strip_accents,
            lowercase=spec.words.lowercase,
        )
        self._cut = re.compile(_CUT)
        self._tokenizer = _library_tokenizer(spec, vocabulary, prefix)
        super().__init__(vocabulary, spec, spell)

    def decode(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """Returns the words of tokens with spaces between them. Bytes that are not valid UTF-8 become U+FFFD.

        There is none before a word that is first, or that only hidden BOS tokens precede. What normalisation
        has changed is not restored, nor where spaces were. `special` includes control tokens. Raises
        `TokenizerError` for an id out of range.
        """
        pieces = (self._shown if special else self._plain).of(tokens)
        bos = None if special else self.special_ids.get("bos")
        first = next((place for place, token in enumerate(tokens) if token != bos), None)
        if first is not None and tokens[first] not in self._special_tokens:
            pieces[first] = pieces[first].removeprefix(b" ")
        return b"".join(pieces).decode(errors="replace")

    def _spelling(self, token: int) -> str:
        text = self._vocabulary.texts[token]
        if self._phantom and self._vocabulary.types[token] == TokenType.USER_DEFINED:
            return text.removeprefix(SPACE)
        return text

    def _normalize(self, text: str) -> str:
        return "".join(map(self._normalizer.normalize_str, chunks(text, self._cut)))

    def _encode_plain(self, text: str, begins: bool) -> list[int]:
        tokens: list[int] = []
        for chunk in chunks(text, self._cut):
            tokens += encode_text(self._tokenizer, chunk)
        return tokens


def _parts(text: str, prefix: str | None) -> tuple[bool, str]:
    """Returns whether a token begins a word, and its text in the word."""
    if prefix is None:
        return text.startswith(SPACE), text.removeprefix(SPACE)
    within = prefix != "" and text.startswith(prefix) and text != prefix
    return not within, text.removeprefix(prefix) if within else text


def _library_tokenizer(spec: TokenizerSpec, vocabulary: Vocabulary, prefix: str | None) -> LibraryTokenizer:
    """Returns a library tokenizer for normalised text, without the tokens that text must not produce."""
    ids = {_NOWHERE: vocabulary.special_ids["unknown"]}
    hidden = frozenset(vocabulary.of_type(*_UNREACHABLE))
    for token, text in enumerate(vocabulary.texts):
        if token in hidden or token == vocabulary.special_ids["unknown"]:
            continue
        if prefix is None:
            begins, text = _parts(text, None)
            text = text if begins else _NOWHERE + text
        if text and text != _NOWHERE:
            ids[text] = token
    model = WordPiece(
        vocab=ids,
        unk_token=_NOWHERE,
        max_input_chars_per_word=spec.longest_word,
        continuing_subword_prefix=_NOWHERE if prefix is None else prefix,
    )
    tokenizer = LibraryTokenizer(model)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer
