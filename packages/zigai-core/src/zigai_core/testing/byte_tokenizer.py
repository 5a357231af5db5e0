"""A byte tokenizer for the vocabulary of the toy models, for tests without a tokenizer plugin."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import FormatError, TokenizerError

FIRST_BYTE = 3


class ByteTokenizer:
    """Token b + 3 is byte b; tokens 0 to 2 are special (`<unk>`, `<s>`, `</s>`), those above 258 words.

    Words are never produced by `encode`. See `Tokenizer` for the methods. Raises `FormatError` for a
    vocabulary of other tokens.
    """

    def __init__(self, spec: TokenizerSpec) -> None:
        specials, tokens = list(spec.tokens[:FIRST_BYTE]), list(spec.tokens[FIRST_BYTE : FIRST_BYTE + 256])
        ids = [*spec.special_ids.values(), *spec.end_ids]
        known = (
            tokens == [f"<0x{byte:02X}>" for byte in range(256)] and len({*specials, ""}) == FIRST_BYTE + 1
        )
        if not known or not all(0 <= token < FIRST_BYTE for token in ids):
            raise FormatError("a vocabulary for bytes has three special tokens, the 256 bytes, and words")
        try:
            "".join(spec.tokens).encode()
        except UnicodeEncodeError as error:
            raise FormatError("a token of the vocabulary has a lone surrogate") from error
        if spec.add_bos and "bos" not in spec.special_ids:
            raise FormatError("the vocabulary asks for a BOS token and has none")
        self.vocabulary_size = len(spec.tokens)
        self.special_ids: Mapping[str, int] = spec.special_ids
        self.end_ids = spec.end_ids
        self._spec = spec
        self.control_tokens: Mapping[str, int] = {spec.tokens[token]: token for token in range(FIRST_BYTE)}

    def encode(
        self,
        text: str,
        *,
        special: bool = False,
        bos: bool | None = None,
        guards: Sequence[int] = (),
    ) -> list[int]:
        """Returns one token for each byte of the text in UTF-8."""
        control = "(" + "|".join(map(re.escape, self.control_tokens)) + ")"
        starts = [0, *guards] if special else [0]
        spans = zip(starts, [*starts[1:], len(text)], strict=True)
        pieces = [piece for a, b in spans for piece in (re.split(control, text[a:b]) if special else [text])]
        tokens = [self.special_ids["bos"]] if (self._spec.add_bos if bos is None else bos) else []
        try:
            for piece in pieces:
                if special and piece in self.control_tokens:
                    tokens.append(self.control_tokens[piece])
                else:
                    tokens.extend(byte + FIRST_BYTE for byte in piece.encode())
        except UnicodeEncodeError as error:
            raise TokenizerError(f"the text has a lone surrogate at character {error.start}") from error
        return tokens

    def decode(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """Returns text, with U+FFFD for invalid UTF-8."""
        return self.decode_bytes(tokens, special=special).decode(errors="replace")

    def decode_bytes(self, tokens: Sequence[int], *, special: bool = False) -> bytes:
        """Returns the tokens' bytes; words are spelled out, with a space for `▁`."""
        return b"".join(self._bytes(token, special) for token in tokens)

    def token_text(self, token: int) -> str:
        """Returns the token as spelled in the vocabulary."""
        if not 0 <= token < self.vocabulary_size:
            raise TokenizerError(f"token {token} is outside the vocabulary of {self.vocabulary_size}")
        return self._spec.tokens[token]

    def _bytes(self, token: int, special: bool) -> bytes:
        spelled = self.token_text(token)
        if token < FIRST_BYTE:
            return spelled.encode() if special else b""
        if token < FIRST_BYTE + 256:
            return bytes([token - FIRST_BYTE])
        return spelled.replace("▁", " ").encode()
