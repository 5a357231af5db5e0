"""Base class and helpers of the conformance suites for tokenizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import ZigAIError
from zigai_core.contracts.plugins import Tokenizer, TokenizerFactory
from zigai_core.testing.tokenizer.goldens import Goldens
from zigai_core.testing.tokenizer.texts import sample_texts

CONTROL = 3
"""GGUF's token type of control tokens."""


class TokenizerSuite:
    """What a contributor sets, and what the tests of a tokenizer share."""

    tokenizer: ClassVar[TokenizerFactory]
    """Makes the tokenizer: its class, or a function."""
    spec: ClassVar[TokenizerSpec]
    """A vocabulary of its kind, with at least one control token."""
    goldens: ClassVar[Goldens | Any] = {}
    """Required: ids by text from another implementation, or the path of a file of them; see
    `goldens.load_goldens`."""
    normalises: ClassVar[Callable[[str], str | None] | None] = None
    """What becomes of a text that is encoded and decoded, if that is another text (NFC, lower case): a
    function that returns it, and None for what cannot be restored. Without it, every text is restored."""
    texts: ClassVar[Sequence[str]] = ()
    """Further texts for all tests."""
    size: ClassVar[int] = 1 << 20
    """Characters of the longest texts; a slow tokenizer may take fewer."""

    def _new(self, spec: TokenizerSpec) -> Tokenizer:
        """Returns a tokenizer of another vocabulary. A function in `tokenizer` is not bound."""
        factory: Any = type(self).tokenizer
        made: Tokenizer = factory(spec)
        return made

    @property
    def _tokenizer(self) -> Tokenizer:
        """The tokenizer of `spec`, made once for a class."""
        owner: Any = type(self)
        if "_made" not in vars(owner):
            owner._made = self._new(owner.spec)
        made: Tokenizer = owner._made
        return made

    def _texts(self, count: int = 300) -> list[str]:
        return [*type(self).texts, *sample_texts(count)]

    def _restored(self, text: str) -> str | None:
        """What `text` is after encoding and decoding; None if that is not defined."""
        function: Any = type(self).normalises
        return text if function is None else function(text)

    def _encode(self, text: str, **keywords: Any) -> list[int] | None:
        """Ids without BOS; None for a text that cannot be restored and is refused."""
        keywords.setdefault("bos", False)
        try:
            return self._tokenizer.encode(text, **keywords)
        except ZigAIError as error:
            assert self._restored(text) is None, f"{brief(text)} cannot be encoded: {error}"
            return None


def brief(text: object) -> str:
    """Returns the `repr` of a text, shortened in the middle."""
    shown = repr(text)
    return shown if len(shown) <= 200 else f"{shown[:100]} … {shown[-60:]} ({len(shown)} characters)"


def raises(
    error: type[BaseException], case: str, call: Callable[..., object], *arguments: Any, **keywords: Any
) -> BaseException:
    """Returns the error of this class that a call raises; raises `AssertionError` if it does not."""
    try:
        call(*arguments, **keywords)
    except error as caught:
        return caught
    raise AssertionError(f"{case}: {error.__name__} was expected")
