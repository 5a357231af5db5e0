"""What the tokenizers share: special tokens in the text, the beginning of sequence, bytes of tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import FormatError, TokenizerError
from zigai_tokenizers.special_tokens import SpecialTokens
from zigai_tokenizers.vocabulary import HIDDEN, TokenBytes, TokenType, Vocabulary


class VocabularyTokenizer(ABC):
    """A `Tokenizer` but for how a stretch of plain text is encoded, and what bytes a token stands for.

    User-defined tokens are found in every text; control and unknown ones where `special` is asked for, and
    never otherwise. Both as in llama.cpp's `tokenizer_st_partition`, except that where two overlap the
    leftmost wins (as in Hugging Face's tokenizers), not the longest of the whole text.
    """

    vocabulary_size: int
    special_ids: Mapping[str, int]
    end_ids: frozenset[int]

    def __init__(self, vocabulary: Vocabulary, spec: TokenizerSpec, spell: Callable[[int], bytes]) -> None:
        """`spell` gives the bytes that a token stands for."""
        self.vocabulary_size = vocabulary.size
        self.special_ids = vocabulary.special_ids
        self.end_ids = vocabulary.end_ids
        self._vocabulary = vocabulary
        self._add_bos = spec.add_bos
        self._shown = TokenBytes(vocabulary.size, spell)
        self._plain = TokenBytes(vocabulary.size, spell, hidden=vocabulary.of_type(*HIDDEN))
        user_defined = vocabulary.of_type(TokenType.USER_DEFINED)
        control = vocabulary.of_type(TokenType.CONTROL, TokenType.UNKNOWN)
        self.control_tokens: Mapping[str, int] = self._spellings(
            [*control, *(token for token in user_defined if token in self.end_ids)]
        )
        self._always = SpecialTokens(self._spellings(user_defined))
        self._special = SpecialTokens(self._spellings([*control, *user_defined]))
        if self._add_bos and "bos" not in self.special_ids:
            raise FormatError("the file asks for a beginning-of-sequence token but names none")

    def encode(
        self,
        text: str,
        *,
        special: bool = False,
        bos: bool | None = None,
        guards: Sequence[int] = (),
    ) -> list[int]:
        """Token ids; `TokenizerError` for a lone surrogate, or for `bos` where the vocabulary has none.

        `guards`: positions in the text, ascending, that no special token may stretch across.
        """
        _check_text(text)
        tokens: list[int] = []
        if self._add_bos if bos is None else bos:
            if "bos" not in self.special_ids:
                raise TokenizerError(
                    "this vocabulary has no beginning-of-sequence token: encode with bos=False"
                )
            tokens.append(self.special_ids["bos"])
        for part in (self._special if special else self._always).split(text, guards if special else ()):
            if isinstance(part, int):
                tokens.append(part)
            else:
                tokens += self._encode_plain(part)
        return tokens

    def decode(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """The text that `encode` made these tokens of; bytes that are no UTF-8 become U+FFFD."""
        return self.decode_bytes(tokens, special=special).decode(errors="replace")

    def decode_bytes(self, tokens: Sequence[int], *, special: bool = False) -> bytes:
        """The tokens' bytes, one after another; `TokenizerError` for an id out of range."""
        return b"".join((self._shown if special else self._plain).of(tokens))

    def token_text(self, token: int) -> str:
        """The token as the vocabulary spells it; `TokenizerError` for an id out of range."""
        _ = self._shown[token]  # refuses an id out of range
        return self._vocabulary.texts[token]

    def _spellings(self, tokens: Sequence[int]) -> dict[str, int]:
        """How each of the special `tokens` is written in a text; of two spelt alike the first counts."""
        spellings: dict[str, int] = {}
        for token in tokens:
            spellings.setdefault(self._spelling(token), token)
        return spellings

    def _spelling(self, token: int) -> str:
        return self._vocabulary.texts[token]

    @abstractmethod
    def _encode_plain(self, text: str) -> list[int]:
        """The ids of a stretch of text, never empty, that holds no special token."""


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"the text has a lone surrogate, U+{ord(text[error.start]):04X}, at character {error.start}: "
            "it is not valid Unicode and cannot be encoded"
        ) from None
