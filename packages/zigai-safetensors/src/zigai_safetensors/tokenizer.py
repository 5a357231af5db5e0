"""The vocabulary of a folder as a `TokenizerSpec`: of tokenizer.json, else of tokenizer.model.

transformers uses tokenizer.json where there is one, so that file alone decides then, even if it is refused:
tokenizer.model may be older than what was added to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import FormatError
from zigai_safetensors.files import read_json
from zigai_safetensors.sentencepiece_model import read_sentencepiece
from zigai_safetensors.tokenizer_json import read_tokenizer_json

ROLES = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
"""Keys of tokenizer_config.json by role."""


def read_tokenizer(folder: Path, ends: Sequence[int], size: int) -> TokenizerSpec | None:
    """Returns the vocabulary of a folder, or None if it has none of the two files.

    `ends` are the ids that end a reply by the configurations, `size` is that of the model's vocabulary.
    Raises `FormatError` for a file that is not valid or has more tokens than the model, `UnsupportedError`
    for what is not understood.
    """
    settings_path = folder / "tokenizer_config.json"
    settings = read_json(settings_path) if settings_path.exists() else {}
    path = folder / "tokenizer.json"
    if path.exists():
        spec = read_tokenizer_json(path, settings)
    else:
        path = folder / "tokenizer.model"
        if not path.exists():
            return None
        spec = read_sentencepiece(path, settings)
    count = len(spec.tokens)
    if size and count > size:
        raise FormatError(f"{path}: has {count} tokens, but the model only {size}")
    wrong = [end for end in ends if not 0 <= end < count]
    if wrong:
        raise FormatError(f"{folder}: eos_token_id is {wrong[0]}, but {path.name} has {count} tokens")
    special = _roles(spec, settings)
    last = spec.special_ids.get("eos") if spec.add_eos else None
    if last is not None and special.get("eos") not in (None, last):
        # The token after a text and that after a reply differ (Qwen3-Embedding). GGUF has one role for both:
        # as in llama.cpp (gguf-py/gguf/vocab.py), the former is `eos` and the latter `eot`.
        special |= {"eot": special["eos"], "eos": last}
    return replace(
        spec,
        special_ids={"eos": ends[0], **special} if ends else special,
        end_ids=frozenset(ends) | {special[role] for role in ("eos", "eot") if role in special},
    )


def _roles(spec: TokenizerSpec, settings: Mapping[str, Any]) -> dict[str, int]:
    """The special ids by role: those of the settings, except for the token that begins every text."""
    ids = {text: token for token, text in reversed(list(enumerate(spec.tokens)))}
    named = {
        role: ids[text]
        for role, key in ROLES.items()
        if (text := _content(settings.get(key))) is not None and text in ids
    }
    first = {"bos": spec.special_ids["bos"]} if spec.add_bos and spec.kind != "llama" else {}
    if spec.kind == "bert":  # its model itself makes the unknown token of a word
        first["unknown"] = spec.special_ids["unknown"]
    return {**spec.special_ids, **named, **first}


def _content(value: Any) -> str | None:
    """The text of a token, which is given as such or as an object."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None
