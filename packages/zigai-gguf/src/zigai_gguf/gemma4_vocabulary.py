"""What GGUF's vocabularies of the kind `gemma4` do not say: BPE of characters by merges, with byte tokens.

Sources: llama.cpp (conversion/gemma.py, src/llama-vocab.cpp); transformers, whose tokenizer finds some tokens
in texts before any merge, which the converter stores as normal ones.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TokenizerSpec, TokenType
from zigai_core.contracts.errors import UnsupportedError
from zigai_gguf.string_array import StringArray

KIND = "gemma4"

MARKERS = frozenset(
    (
        *("<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>"),
        *("<|tool_response>", "<tool_response|>", '<|"|>'),
    )
)
"""Control tokens that the converter stores as user-defined, so that llama.cpp shows them in replies."""


def gemma4_types(tokens: StringArray, types: NDArray[np.int32]) -> NDArray[np.int32]:
    """Returns the types of a vocabulary, int32 `[tokens]`: `CONTROL` of markers, which no text may contain.

    Tokens of several line breaks are user-defined: a row of them is one token even where merges give others.
    """
    changed = types.copy()
    for token in tokens.beginning_with(b"<"):
        if types[token] == TokenType.USER_DEFINED and tokens[token] in MARKERS:
            changed[token] = TokenType.CONTROL
    for token in tokens.beginning_with(b"\n"):
        if types[token] == TokenType.NORMAL and set(tokens[token][1:]) == {"\n"}:
            changed[token] = TokenType.USER_DEFINED
    changed.flags.writeable = False
    return changed


def by_merges(spec: TokenizerSpec, path: Path | None) -> TokenizerSpec:
    """Returns a vocabulary of the kind `bpe` as one of the kind `gemma4`.

    Markers are user-defined, as the converter stores them. Raises `UnsupportedError` for what that kind does
    not have.
    """
    wrong = _unlike(spec)
    if wrong is not None:
        raise UnsupportedError(f"{path}: the tokenizer {wrong}, which GGUF cannot ask for")
    types = np.ones(len(spec.tokens), np.int32) if spec.types is None else spec.types.copy()
    for token, text in enumerate(spec.tokens):
        if types[token] == TokenType.CONTROL and text in MARKERS:
            types[token] = TokenType.USER_DEFINED
    scores = np.full(len(types), -1000, np.float32)  # as the converter: llama.cpp reads none
    return replace(spec, kind=KIND, types=types, scores=scores, splits=None, add_bos=True)


def _unlike(spec: TokenizerSpec) -> str | None:
    if spec.splits:
        return "splits texts"
    if spec.ignore_merges:
        return "takes whole texts"
    if spec.add_space_prefix:
        return "puts a space before texts"
    return None


def of_characters(kind: str, architecture: str) -> bool:
    """True if a vocabulary of this kind is written with its merges for this architecture."""
    return kind == "bpe" and architecture == "gemma4"
