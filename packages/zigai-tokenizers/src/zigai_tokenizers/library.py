"""BPE of the tokenizers library, without the tokens that plain text must not produce."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import Any

from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Split

from zigai_core.contracts.descriptor import TokenizerSpec, TokenType
from zigai_core.contracts.errors import FormatError, TokenizerError, escape, quote
from zigai_tokenizers.vocabulary import Vocabulary

Merges = list[tuple[str, str]]


def plain_ids(vocabulary: Vocabulary, *without: TokenType) -> dict[str, int]:
    """Returns the ids of tokens by their texts, without those of some types."""
    ids = dict(vocabulary.ids)
    for token in vocabulary.of_type(*without):
        ids.pop(vocabulary.texts[token], None)
    return ids


def bpe_model(spec: TokenizerSpec, vocabulary: Vocabulary, ids: dict[str, int], **options: Any) -> BPE:
    """Returns the model of the library with these tokens and the merges of the specification.

    Merges of tokens that are not among `ids` are left out. Raises `FormatError` for a merge of or to a text
    that is no token of the vocabulary.
    """
    with _no_collection():
        merges = _merges(spec)
        try:
            return BPE(vocab=ids, merges=merges, **options)
        except Exception:  # a merge needs a token that is missing or not among `ids`
            return BPE(vocab=ids, merges=_plain_merges(merges, ids, vocabulary), **options)


def splits_at(patterns: Sequence[str]) -> list[Split]:
    """Returns the library's pre-tokenizers of expressions. Raises `FormatError` for an invalid one."""
    try:
        return [Split(Regex(pattern), behavior="isolated") for pattern in patterns]
    except Exception as error:  # the library raises no class of its own
        raise FormatError(
            f"the expressions {quote(list(patterns))} are not valid: {escape(str(error))}"
        ) from None


def encode_text(tokenizer: Tokenizer, text: str) -> list[int]:
    """Returns the ids of a text. Raises `TokenizerError` if the library fails."""
    try:
        # The same ids as `encode` in half the time, because offsets are not computed.
        (encoding,) = tokenizer.encode_batch_fast([text], add_special_tokens=False)
    except BaseException as error:
        # A panic of the library is not an `Exception`. Its regular expressions fail on runs of millions
        # of equal characters.
        if type(error).__name__ != "PanicException":
            raise
        raise TokenizerError(f"the tokenizers library failed on the text: {escape(str(error))}") from None
    tokens: list[int] = encoding.ids
    return tokens


@contextmanager
def _no_collection() -> Iterator[None]:
    """Disables garbage collection, which would traverse half a million new strings and pairs repeatedly."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _merges(spec: TokenizerSpec) -> Merges:
    """Returns the merges as pairs, in order. Raises `FormatError` for missing or duplicate merges."""
    if spec.merges is None:
        raise FormatError("the vocabulary has no merges, which BPE needs")
    lines = list(spec.merges)
    if len(set(lines)) != len(lines):
        first: dict[str, int] = {}
        for number, line in enumerate(lines):
            if first.setdefault(line, number) != number:
                raise FormatError(f"merges {first[line]} and {number} are both {quote(line)}")
    return [(left, right) for left, _, right in map(str.partition, lines, repeat(" "))]


def _plain_merges(merges: Merges, ids: dict[str, int], vocabulary: Vocabulary) -> Merges:
    """Returns the merges without those of control tokens. Raises `FormatError` if a token is missing."""
    plain = []
    for number, (left, right) in enumerate(merges):
        if not left or not right or " " in right:
            raise FormatError(f"merge {number} is {quote(left)} and {quote(right)}, which are not two tokens")
        missing = [text for text in (left, right, left + right) if text not in ids]
        if not missing:
            plain.append((left, right))
        elif missing[0] not in vocabulary.ids:
            raise FormatError(
                f"merge {number}, {quote(left)} with {quote(right)}, needs {quote(missing[0])}, "
                "which is not a token"
            )
    return plain
