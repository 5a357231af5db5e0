"""What every kind of tokenizer needs from a `TokenizerSpec`, checked once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import FormatError, TokenizerError, quote

_UNUSED_ROLES = frozenset({"padding", "separator", "mask"})
"""Roles that nothing here acts on. Files name ids for them that do not exist (-1, the vocabulary's size)."""


class TokenType(IntEnum):
    """GGUF's and SentencePiece's types of tokens."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


HIDDEN = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.UNUSED)
"""What decoding leaves out unless it is asked for."""


class Vocabulary:
    """Texts, types and special ids of a specification, checked to agree with each other.

    `FormatError` names what does not: no tokens, another number of types than tokens, a type that is none,
    an id out of range, two tokens of one text.
    """

    def __init__(self, spec: TokenizerSpec) -> None:
        self.texts = list(spec.tokens)
        self.size = len(self.texts)
        if not self.size:
            raise FormatError("the vocabulary has no tokens")
        self._check_texts()
        self.types = self._types(spec)
        self.special_ids = self._special_ids(spec.special_ids)
        self.end_ids = frozenset(self._checked(token, "an end of reply") for token in spec.end_ids)
        self.ids = self._ids()

    def of_type(self, *types: TokenType) -> list[int]:
        """The ids of the tokens of these types, ascending."""
        return [int(token) for token in np.flatnonzero(np.isin(self.types, types))]

    def encoded(self) -> list[bytes]:
        """Each token's text in UTF-8."""
        return [text.encode() for text in self.texts]

    def _check_texts(self) -> None:
        """Refuse lone surrogates, which no encoding takes."""
        try:
            "".join(self.texts).encode()
        except UnicodeEncodeError as error:
            at = error.start
            for token, text in enumerate(self.texts):
                at -= len(text)
                if at < 0:
                    raise FormatError(f"token {token} is no valid text: {quote(text)}") from None
            raise

    def _types(self, spec: TokenizerSpec) -> NDArray[np.int64]:
        if spec.types is None:
            return types_by_role(spec).astype(np.int64)
        types = np.asarray(spec.types)
        if types.shape != (self.size,):
            raise FormatError(f"the vocabulary has {self.size} tokens but {types.size} token types")
        if types.dtype.kind not in "iu":
            raise FormatError(f"the vocabulary's token types are {types.dtype}, not whole numbers")
        wrong = np.flatnonzero((types < TokenType.NORMAL) | (types > TokenType.BYTE))
        if len(wrong):
            token = int(wrong[0])
            raise FormatError(
                f"token {token} {quote(self.texts[token])} is of type {types[token]}, which is none of 1..6"
            )
        return types.astype(np.int64)

    def _special_ids(self, special_ids: Mapping[str, int]) -> Mapping[str, int]:
        kept = {}
        for role, token in special_ids.items():
            if role in _UNUSED_ROLES and not 0 <= token < self.size:
                continue
            kept[role] = self._checked(token, f"the {role} token")
        return MappingProxyType(kept)

    def _checked(self, token: int, what: str) -> int:
        if not 0 <= token < self.size:
            raise FormatError(f"{what} has id {token}, outside the vocabulary of {self.size} tokens")
        return int(token)

    def _ids(self) -> dict[str, int]:
        """Ids by text. Empty texts are placeholders, of which real files have several."""
        ids = dict(zip(self.texts, range(self.size), strict=True))
        if len(ids) != self.size:
            first: dict[str, int] = {}
            for token, text in enumerate(self.texts):
                if text and first.setdefault(text, token) != token:
                    raise FormatError(f"tokens {first[text]} and {token} are both {quote(text)}")
        ids.pop("", None)
        return ids


def types_by_role(spec: TokenizerSpec) -> NDArray[np.int32]:
    """Types for a file without any: a token that has a role or ends a reply is a control token."""
    size = len(spec.tokens)
    types = np.full(size, TokenType.NORMAL, dtype=np.int32)
    for token in (*spec.special_ids.values(), *spec.end_ids):
        if 0 <= token < size:
            types[token] = TokenType.CONTROL
    unknown = spec.special_ids.get("unknown", -1)
    if 0 <= unknown < size:
        types[unknown] = TokenType.UNKNOWN
    return types


class TokenBytes(dict[int, bytes]):
    """The bytes of each token, spelled when they are first asked for: a reply needs few of a vocabulary.

    `hidden` tokens have none. `TokenizerError` for an id out of range.
    """

    def __init__(self, size: int, spell: Callable[[int], bytes], hidden: Sequence[int] = ()) -> None:
        super().__init__(dict.fromkeys(hidden, b""))
        self._size = size
        self._spell = spell

    def __missing__(self, token: int) -> bytes:
        if not 0 <= token < self._size:
            raise TokenizerError(f"token id {token} is outside the vocabulary of {self._size} tokens")
        spelled = self[token] = self._spell(int(token))
        return spelled

    def of(self, tokens: Sequence[int]) -> list[bytes]:
        """Those of each of the tokens."""
        return [self[token] for token in tokens]
