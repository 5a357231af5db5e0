"""The checked vocabulary of a `TokenizerSpec`, for every kind of tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TokenizerSpec, TokenType
from zigai_core.contracts.errors import FormatError, TokenizerError, quote

_UNUSED_ROLES = frozenset({"padding", "separator", "mask"})
"""Roles that are not used. Files give ids out of range for them (-1, or the size of the vocabulary)."""


_WRITTEN = (TokenType.NORMAL, TokenType.USER_DEFINED)
"""Types of tokens that a text can contain."""

HIDDEN = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.UNUSED)
"""Types of tokens that decoding omits unless `special` is set."""


class Vocabulary:
    """Texts, types and special ids of a specification, checked for consistency.

    Raises `FormatError` if there are no tokens, the number of types differs from that of tokens, a type or id
    is out of range, a text is not valid Unicode, or two tokens have the same text.
    """

    def __init__(self, spec: TokenizerSpec) -> None:
        self.texts = list(spec.tokens)
        self.size = len(self.texts)
        if not self.size:
            raise FormatError("the vocabulary has no tokens")
        self._check_texts()
        self.types = self._types(spec)
        self.special_ids = self._special_ids(spec.special_ids)
        self.end_ids = frozenset(self._checked(token, "an end-of-reply token") for token in spec.end_ids)
        self._hide_ends()
        self.ids = self._ids()

    def of_type(self, *types: TokenType) -> list[int]:
        """Returns the ids of the tokens of these types, in ascending order."""
        return [int(token) for token in np.flatnonzero(np.isin(self.types, types))]

    def encoded(self) -> list[bytes]:
        """Returns the text of each token in UTF-8."""
        return [text.encode() for text in self.texts]

    def _check_texts(self) -> None:
        """Raises `FormatError` for a lone surrogate, which UTF-8 cannot encode."""
        try:
            "".join(self.texts).encode()
        except UnicodeEncodeError as error:
            at = error.start
            for token, text in enumerate(self.texts):
                at -= len(text)
                if at < 0:
                    raise FormatError(f"token {token} is not valid Unicode: {quote(text)}") from None
            raise

    def _types(self, spec: TokenizerSpec) -> NDArray[np.int64]:
        if spec.types is None:
            return types_by_role(spec).astype(np.int64)
        types = np.asarray(spec.types)
        if types.shape != (self.size,):
            raise FormatError(f"the vocabulary has {self.size} tokens but {types.size} token types")
        if types.dtype.kind not in "iu":
            raise FormatError(
                f"the vocabulary's token types have dtype {types.dtype}, which is not an integer type"
            )
        wrong = np.flatnonzero((types < TokenType.NORMAL) | (types > TokenType.BYTE))
        if len(wrong):
            token = int(wrong[0])
            raise FormatError(
                f"token {token} {quote(self.texts[token])} is of type {types[token]}, outside 1..6"
            )
        return types.astype(np.int64)

    def _hide_ends(self) -> None:
        """Makes control tokens of the normal and user-defined tokens that end a reply, as llama.cpp does.

        Otherwise a text could contain them. A token of one character stays what it is: a text that has the
        character (a line break, say) could not be encoded without it.
        """
        for token in self.end_ids:
            if self.types[token] in _WRITTEN and len(self.texts[token]) > 1:
                self.types[token] = TokenType.CONTROL

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
        """Returns ids by text. Empty texts are omitted: they are placeholders, often several in a file."""
        ids = dict(zip(self.texts, range(self.size), strict=True))
        if len(ids) != self.size:
            first: dict[str, int] = {}
            for token, text in enumerate(self.texts):
                if text and first.setdefault(text, token) != token:
                    raise FormatError(f"tokens {first[text]} and {token} are both {quote(text)}")
        ids.pop("", None)
        return ids


def types_by_role(spec: TokenizerSpec) -> NDArray[np.int32]:
    """Returns types, int32 `[tokens]`, for a file without types.

    A token that has a role or ends a reply is a control token, except the unknown token.
    """
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
    """Bytes of each token, computed on first access: a reply uses a small part of a vocabulary.

    `hidden` tokens have no bytes. Raises `TokenizerError` for an id out of range.
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
        """Returns the bytes of each token."""
        return [self[token] for token in tokens]
