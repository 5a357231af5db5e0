"""WordPiece in GGUF: the texts of its tokens, and its keys.

Source: llama.cpp (conversion/bert.py, `set_vocab`; src/llama-vocab.cpp, `llm_tokenizer_wpm_session`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zigai_core.contracts.descriptor import ModelDescriptor, TokenizerSpec, TokenType
from zigai_core.contracts.errors import UnsupportedError

_LONGEST = 100
"""The characters of the longest word where a file says nothing, as in files of Hugging Face."""


def with_phantom_spaces(spec: TokenizerSpec, path: Path | None) -> list[str]:
    """Returns the texts of tokens as GGUF has them: U+2581 before those that begin a word, but no prefix.

    Control tokens stay as they are. Raises `UnsupportedError` if two tokens would become one.
    """
    prefix = spec.continuing_prefix
    if prefix is None:
        return list(spec.tokens)
    types = [TokenType.NORMAL] * len(spec.tokens) if spec.types is None else spec.types.tolist()
    texts: list[str] = []
    first: dict[str, int] = {}
    for token, (text, kind) in enumerate(zip(spec.tokens, types, strict=True)):
        if kind != TokenType.CONTROL:
            text = text.removeprefix(prefix) if text.startswith(prefix) else "\u2581" + text
        if text and first.setdefault(text, token) != token:
            raise UnsupportedError(
                f"{path}: tokens {first[text]} and {token} of WordPiece have the same text in a GGUF file"
            )
        texts.append(text)
    return texts


def bert_keys(spec: TokenizerSpec, model: ModelDescriptor) -> dict[str, Any]:
    """Returns the keys of WordPiece, without `tokenizer.ggml.`.

    Raises `UnsupportedError` for settings that GGUF has no keys for.
    """
    settings = spec.words
    for name, value, usual in (
        ("clean_text", settings.clean, True),
        ("handle_chinese_chars", settings.chinese, True),
        ("max_input_chars_per_word", spec.longest_word, _LONGEST),
    ):
        if value != usual:
            raise UnsupportedError(
                f"{model.path}: {name} of the tokenizer is {value}, which GGUF has no key for: {usual} is "
                "what its readers take"
            )
    strip = settings.lowercase if settings.strip_accents is None else settings.strip_accents
    keys: dict[str, Any] = {
        "normalizer.lowercase": settings.lowercase,
        "normalizer.strip_accents": strip,
        "add_sep_token": False,  # [SEP] is EOS here
    }
    if "eos" in spec.special_ids:
        keys["seperator_token_id"] = spec.special_ids["eos"]
    if "bos" in spec.special_ids:
        keys["cls_token_id"] = spec.special_ids["bos"]
    return keys
