"""Tokens that were added to a vocabulary: `added_tokens` of tokenizer.json, and other files' lists of them.

Source: `AddedToken` of the tokenizers library; tokenizer_config.json and added_tokens.json of transformers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_safetensors.files import read_json

MOST_TOKENS = 1 << 21


@dataclass(frozen=True)
class AddedToken:
    """A token that is found in a text before the rest is encoded; the flags are those of the library."""

    id: int
    content: str
    special: bool = False
    normalized: bool = False
    lstrip: bool = False
    rstrip: bool = False


def tokens_of_list(path: Path, given: Any) -> list[AddedToken]:
    """Returns `added_tokens` of tokenizer.json."""
    if not isinstance(given, list):
        raise FormatError(f"{path}: added_tokens is {quote(given)}, but must be a list")
    return [_token(path, "added_tokens", each, None) for each in given]


def tokens_of_settings(path: Path, settings: Mapping[str, Any]) -> list[AddedToken]:
    """Returns `added_tokens_decoder` of tokenizer_config.json, which maps ids to tokens."""
    given = settings.get("added_tokens_decoder") or {}
    if not isinstance(given, dict):
        raise FormatError(f"{path}: added_tokens_decoder is {quote(given)}, but must be an object")
    found = []
    for key, entry in given.items():
        if not (key.isascii() and key.isdigit() and len(key) <= 8):
            raise FormatError(f"{path}: added_tokens_decoder: {quote(key)} is no id")
        found.append(_token(path, "added_tokens_decoder", entry, int(key)))
    return found


def tokens_of_file(path: Path) -> list[AddedToken]:
    """Returns the tokens of added_tokens.json, which maps texts to ids; none without the file."""
    if not path.exists():
        return []
    return [AddedToken(check_id(path, text, token), text) for text, token in read_json(path).items()]


def check_id(path: Path, text: str, token: Any) -> int:
    """Returns an id. Raises `FormatError` unless it is a whole number within bounds."""
    if type(token) is not int or not 0 <= token < MOST_TOKENS:
        raise FormatError(f"{path}: the token {quote(text)} has the id {quote(token)}")
    return int(token)


def extended(
    path: Path, tokens: Sequence[AddedToken], texts: Mapping[int, str], more: Iterable[AddedToken]
) -> list[AddedToken]:
    """Returns `tokens` and those of `more` that are not among them by content, as transformers adds them.

    `texts` are the tokens of the vocabulary by id, `path` is the file of `more`. Raises `UnsupportedError` if
    one has the id of another token, or another id than in the vocabulary.
    """
    known = {token.content for token in tokens}
    taken = {**texts, **{token.id: token.content for token in tokens}}
    ids = {text: token for token, text in taken.items()}
    found = list(tokens)
    for token in more:
        if token.content in known:
            continue
        if taken.get(token.id, token.content) != token.content:
            raise UnsupportedError(
                f"{path}: the token {quote(token.content)} has the id {token.id}, which is that of "
                f"{quote(taken[token.id])} in the vocabulary"
            )
        if ids.get(token.content, token.id) != token.id:
            raise UnsupportedError(
                f"{path}: the token {quote(token.content)} has the id {token.id}, but "
                f"{ids[token.content]} in the vocabulary"
            )
        known.add(token.content)
        taken[token.id], ids[token.content] = token.content, token.id
        found.append(token)
    return found


def _token(path: Path, where: str, given: Any, token: int | None) -> AddedToken:
    if not isinstance(given, dict):
        raise FormatError(f"{path}: {where} is {quote(given)}, but must be an object")
    content = given.get("content")
    if not isinstance(content, str) or not content:
        raise FormatError(f"{path}: {where}: {quote(given)} has no content")
    if given.get("single_word"):
        raise UnsupportedError(
            f"{path}: {where}: the token {quote(content)} has single_word, which is not supported"
        )
    return AddedToken(
        check_id(path, content, given.get("id") if token is None else token),
        content,
        **{key: bool(given.get(key)) for key in ("special", "normalized", "lstrip", "rstrip")},
    )
