"""The base class of the tokenizers: special tokens in a text, BOS, and the bytes of tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from zigai_core.contracts.descriptor import TokenizerSpec, TokenType
from zigai_core.contracts.errors import FormatError, TokenizerError
from zigai_tokenizers.special_tokens import SpecialTokens
from zigai_tokenizers.vocabulary import HIDDEN, TokenBytes, Vocabulary


class VocabularyTokenizer(ABC):
    """A `Tokenizer` whose subclasses encode plain text and define the bytes of a token.

    User-defined tokens are found in every text, control and unknown tokens only with `special`, as in
    llama.cpp's `tokenizer_st_partition`. One difference: of overlapping tokens the leftmost is found (as in
    Hugging Face's tokenizers), not the longest in the whole text.
    """

    vocabulary_size: int
    special_ids: Mapping[str, int]
    end_ids: frozenset[int]

    def __init__(self, vocabulary: Vocabulary, spec: TokenizerSpec, spell: Callable[[int], bytes]) -> None:
        """`spell(token)` returns the bytes of a token.

        Raises `FormatError` if the file asks for a BOS token and gives no id for it.
        """
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
        self._always = self._searches(user_defined, spec)
        self._special = self._searches([*control, *user_defined], spec)
        if self._add_bos and "bos" not in self.special_ids:
            raise FormatError("the file asks for a beginning-of-sequence token but gives no id for it")

    def encode(
        self,
        text: str,
        *,
        special: bool = False,
        bos: bool | None = None,
        guards: Sequence[int] = (),
    ) -> list[int]:
        """Returns the token ids of a text.

        `special`: control tokens written in the text become those tokens; else they are plain text. `bos`:
        the ids begin with BOS; None follows the file. `guards`: ascending positions in the text that no
        control token may span. Raises `TokenizerError` for a lone surrogate, or if `bos` is true and the
        vocabulary has no BOS token.
        """
        _check_text(text)
        tokens: list[int] = []
        if self._add_bos if bos is None else bos:
            if "bos" not in self.special_ids:
                raise TokenizerError(
                    "this vocabulary has no beginning-of-sequence token: encode with bos=False"
                )
            tokens.append(self.special_ids["bos"])
        first, second = self._special if special else self._always
        guards = guards if special else ()
        for begin, end, token in first.spans(text, guards):
            if token is not None:
                tokens.append(token)
                continue
            part, begins = self._normalize(text[begin:end]), begin == 0
            if second is None:
                tokens += self._encode_plain(part, begins)
                continue
            inner = [len(self._normalize(text[begin:guard])) for guard in guards if begin < guard < end]
            for piece in second.split(part, inner):
                tokens += [piece] if isinstance(piece, int) else self._encode_plain(piece, begins)
                begins = False
        return tokens

    def decode(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """Returns the text of tokens, the inverse of `encode`. Bytes that are not valid UTF-8 become U+FFFD.

        `special` includes control tokens. Raises `TokenizerError` for an id out of range.
        """
        return self.decode_bytes(tokens, special=special).decode(errors="replace")

    def decode_bytes(self, tokens: Sequence[int], *, special: bool = False) -> bytes:
        """Returns the concatenated bytes of tokens. Raises `TokenizerError` for an id out of range."""
        return b"".join((self._shown if special else self._plain).of(tokens))

    def token_text(self, token: int) -> str:
        """Returns the text of a token in the vocabulary. Raises `TokenizerError` for an id out of range."""
        _ = self._shown[token]  # checks the id
        return self._vocabulary.texts[token]

    def _spellings(self, tokens: Sequence[int]) -> dict[str, int]:
        """Returns the ids of special tokens by their spelling in a text, the first id of equal spellings."""
        spellings: dict[str, int] = {}
        for token in tokens:
            spellings.setdefault(self._spelling(token), token)
        return spellings

    def _searches(
        self, tokens: Sequence[int], spec: TokenizerSpec
    ) -> tuple[SpecialTokens, SpecialTokens | None]:
        """Returns the searches in a text as it is, and in its normalised parts; None without such tokens."""
        late = [token for token in tokens if token in spec.normalized]
        first = self._spellings([token for token in tokens if token not in spec.normalized])
        second: dict[str, int] = {}
        for token in late:
            second.setdefault(self._normalize(self._spelling(token)), token)
        strips = spec.strip_left, spec.strip_right
        return SpecialTokens(first, *strips), SpecialTokens(second, *strips) if second else None

    def _spelling(self, token: int) -> str:
        return self._vocabulary.texts[token]

    def _normalize(self, text: str) -> str:
        """Returns the normalised form of a non-empty text without special tokens."""
        return text

    @abstractmethod
    def _encode_plain(self, text: str, begins: bool) -> list[int]:
        """Returns the ids of a non-empty normalised text without special tokens.

        `begins`: no special token is before it.
        """


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"the text has a lone surrogate, U+{ord(text[error.start]):04X}, at character {error.start}: "
            "it is not valid Unicode and cannot be encoded"
        ) from None
