"""Text out of tokens as they come: whole characters only, and nothing of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any, Protocol

from zigai_core.contracts.errors import SamplingError


class BytesDecoder(Protocol):
    """What a stream needs of a `Tokenizer`."""

    def decode(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """The tokens as a text of their own."""
        ...

    def decode_bytes(self, tokens: Sequence[int], *, special: bool = False) -> bytes:
        """The tokens' bytes, one after another."""
        ...


class TextStream:
    """Turns tokens into text that may be shown at once.

    Bytes of an unfinished character wait for the rest of it: three at most, as UTF-8 is made (RFC 3629).
    Text that may be the beginning of a stop string waits until it is certain. Of several stop strings the
    one that is complete first counts, so the text does not depend on how it is cut into tokens. A text that
    is `fresh`, which continues no other, begins without the space that some tokenizers put before each text.

    >>> stream = TextStream(tokenizer, stop=["\\nUser:"])                   # doctest: +SKIP
    >>> text = "".join(map(stream.push, tokens)) + stream.finish()         # doctest: +SKIP
    """

    def __init__(self, tokenizer: BytesDecoder, stop: Sequence[str] = (), *, fresh: bool = False) -> None:
        given: Any = stop
        if isinstance(given, str) or not all(isinstance(text, str) and text for text in given):
            raise SamplingError(f"stop must be a list of texts that are not empty, not {stop!r}")
        self.stopped: str | None = None
        """The stop string that has come, if one has; no more text comes after it."""
        self._tokenizer = tokenizer
        self._fresh = fresh
        self._stop = tuple(stop)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._waiting = ""

    def push(self, token: int) -> str:
        """The text that may be shown now that `token` has come, often none; what is no UTF-8 is U+FFFD."""
        data = self._tokenizer.decode_bytes([token])
        if self._fresh and data.startswith(b" ") and not self._tokenizer.decode([token]).startswith(" "):
            data = data[1:]
        self._fresh = False
        return self._push(data, final=False)

    def finish(self) -> str:
        """The text that still waited, when no more tokens come; bytes of half a character are U+FFFD."""
        return self._push(b"", final=True)

    def _push(self, data: bytes, *, final: bool) -> str:
        if self.stopped is not None:
            return ""
        text = self._waiting + self._decoder.decode(data, final)
        found = [(text.index(stop) + len(stop), -len(stop), stop) for stop in self._stop if stop in text]
        if found:
            end, _, self.stopped = min(found)
            self._waiting = ""
            return text[: end - len(self.stopped)]
        waits = 0 if final else self._waits(text)
        self._waiting = text[len(text) - waits :]
        return text[: len(text) - waits]

    def _waits(self, text: str) -> int:
        """How many characters at the end of `text` may be the beginning of a stop string."""
        longest = max(map(len, self._stop), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stop):
                return length
        return 0
