"""The files of a model's folder: whether it is one, and which are missing."""

from __future__ import annotations

import re
from pathlib import Path

from zigai_core.contracts.errors import FormatError, UnsupportedError
from zigai_safetensors.weights import INDEX, PICKLED, SUFFIX

CONFIG = "config.json"
ADAPTER = "adapter_config.json"
COMPANIONS = frozenset(
    {
        *("generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", INDEX),
        *("special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    }
)
"""Files that transformers saves beside config.json, one of which shows a folder to be a model's."""

_USUAL = re.compile(r"(model|adapter_model|diffusion_pytorch_model)(-\d{5}-of-\d{5})?\.safetensors")
_HEAD = 4096
"""Bytes of config.json that are looked at for `model_type`."""


def is_model(folder: Path) -> bool:
    """True for a folder with the files of a model, whether or not all are there.

    It has config.json with weights, with a file of `COMPANIONS` or with `model_type` near its beginning, or
    without config.json weights under their usual names, or any with a file of `COMPANIONS`.
    """
    try:
        names = {each.name for each in folder.iterdir()}
        weights = {name for name in names if name.endswith(SUFFIX)}
        if CONFIG not in names:
            usual = any(_USUAL.fullmatch(name) for name in weights)
            return INDEX in names or usual or bool(weights and names & COMPANIONS)
        if weights or names & COMPANIONS or any(name.endswith(PICKLED) for name in names):
            return True
        with (folder / CONFIG).open("rb") as file:
            return b'"model_type"' in file.read(_HEAD)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return False


def is_weights(file: Path) -> bool:
    """True for a file with the name of weights and the first byte of a header, in the folder of a model.

    That has config.json or a file of `COMPANIONS`: a file by itself may be of another package's format.
    """
    try:
        if not file.name.endswith(SUFFIX):
            return False
        if not any((file.parent / name).is_file() for name in (CONFIG, *sorted(COMPANIONS))):
            return False
        with file.open("rb") as opened:
            return opened.read(9)[8:] == b"{"
    except (OSError, ValueError):
        return False


def check_config(folder: Path) -> None:
    """Raises `FormatError` if a folder has no config.json, `UnsupportedError` if it is an adapter's."""
    if (folder / CONFIG).exists():
        return
    if (folder / ADAPTER).exists():
        raise UnsupportedError(
            f"{folder}: holds an adapter ({ADAPTER}), not a whole model, and no {CONFIG}: adapters are not "
            "supported: merge it into its model, or name a model that has it merged"
        )
    raise FormatError(
        f"{folder}: holds weights and no {CONFIG}, which says what they are: download it, and the files of "
        "the tokenizer (tokenizer.json, tokenizer_config.json), from where the weights are from"
    )
