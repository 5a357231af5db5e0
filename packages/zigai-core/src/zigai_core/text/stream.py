"""Converts a stream of tokens to text: whole characters only, and no part of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from zigai_core.contracts.errors import SamplingError


class BytesDecoder(Protocol):
    """The methods of a `Tokenizer` that `TextStream` uses."""

    def decode(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """Decodes tokens as a separate text."""
        ...

    def decode_bytes(self, tokens: Sequence[int], *, special: bool = False) -> bytes:
        """Concatenates the bytes of tokens."""
        ...


class State(NamedTuple):
    """What a `TextStream` remembers between two tokens."""

    before: int | None
    """The last token."""
    data: bytes
    """The bytes of an incomplete character."""
    text: str
    """Text that may be the beginning of a stop string."""
    stopped: str | None
    """The stop string that ended the text."""


class TextStream:
    """Converts tokens to text, returning as much of it as is certain after each token.

    The bytes of an incomplete UTF-8 character, at most three (RFC 3629), are held back until it is complete.
    Text that may be the beginning of a stop string is held back until that is decided. Of several stop
    strings the one that is complete first ends the text, so the result does not depend on token boundaries.
    `after` is the last token before the first one; None: a text begins. A space that the tokenizer adds at a
    beginning, or after a control token, is removed as `decode` removes it: the text is what follows
    `after` in the whole. Control tokens are no text but those of `shown`, the marks of a reply's parts.

    Raises `SamplingError` if `stop` is not a list of non-empty texts.

    >>> stream = TextStream(tokenizer, stop=["\\nUser:"])                   # doctest: +SKIP
    >>> text = "".join(map(stream.push, tokens)) + stream.finish()         # doctest: +SKIP
    """

    def __init__(
        self,
        tokenizer: BytesDecoder,
        stop: Sequence[str] = (),
        *,
        after: int | None = None,
        shown: Collection[int] = (),
    ) -> None:
        given: Any = stop
        if (
            isinstance(given, (str, Mapping))
            or not isinstance(given, Collection)
            or not all(isinstance(text, str) and text for text in given)
        ):
            raise SamplingError(f"stop must be a list of texts that are not empty, not {stop!r}")
        self.state = State(after, b"", "", None)
        """What `push` and `finish` change, in one assignment: it can be stored and restored."""
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._shown = frozenset(shown)

    @property
    def stopped(self) -> str | None:
        """The stop string that ended the text, or None; no text is returned after it."""
        return self.state.stopped

    def push(self, token: int) -> str:
        """Adds a token and returns the text that is now certain, often none. Invalid UTF-8 becomes U+FFFD."""
        before = self.state.before
        data = self._tokenizer.decode_bytes([token], special=token in self._shown)
        if data.startswith(b" ") and not self._keeps_space(before, token, data):
            data = data[1:]
        return self._push(token, data, final=False)

    def finish(self) -> str:
        """Returns the text held back, after the last token. An incomplete character becomes U+FFFD."""
        return self._push(self.state.before, b"", final=True)

    def _keeps_space(self, before: int | None, token: int, data: bytes) -> bool:
        """True if the space that the token's bytes begin with is part of the text."""
        tokens = [] if before is None else [before]
        start = len(self._tokenizer.decode(tokens))
        text = self._tokenizer.decode([*tokens, token])[start:]
        return len(text) == len(data.decode(errors="replace"))

    def _push(self, before: int | None, data: bytes, *, final: bool) -> str:
        state = self.state
        if state.stopped is not None:
            return ""
        data = state.data + data
        decoded, used = codecs.utf_8_decode(data, "replace", final)
        text = state.text + decoded
        found = [(text.index(stop) + len(stop), -len(stop), stop) for stop in self._stop if stop in text]
        if found:
            end, _, stopped = min(found)
            self.state = State(before, b"", "", stopped)
            return text[: end - len(stopped)]
        held = 0 if final else self._undecided(text)
        certain = len(text) - held
        self.state = State(before, data[used:], text[certain:], None)
        return text[:certain]

    def _undecided(self, text: str) -> int:
        """The number of characters at the end of `text` that may be the beginning of a stop string."""
        longest = max(map(len, self._stop), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stop):
                return length
        return 0
