"""What sentence-transformers does to texts before a model reads them, which is left to the caller here.

Source: sentence-transformers 6.2 (base/modules/transformer.py, base/model.py): sentence_bert_config.json has
the settings of the module Transformer, config_sentence_transformers.json those of the whole.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_safetensors.files import read_json

TRANSFORMER = "sentence_bert_config.json"
WHOLE = "config_sentence_transformers.json"

_LOG = logging.getLogger("zigai.safetensors")


def check_texts(folder: Path, context: object) -> None:
    """Warns about texts that are cut off, and about a prompt before each text, in a folder with modules.json.

    `context` is the number of tokens that the model is for. Raises `UnsupportedError` for texts that are made
    lower case, `FormatError` for a value that is not valid.
    """
    path = folder / TRANSFORMER
    settings = read_json(path) if path.exists() else {}
    lower, longest = settings.get("do_lower_case"), settings.get("max_seq_length")
    if lower is not None and not isinstance(lower, bool):
        raise FormatError(f"{path}: do_lower_case is {quote(lower)}, but must be true or false")
    if lower:
        raise UnsupportedError(f"{path}: do_lower_case is True, which is not supported; False is")
    if longest is not None and (type(longest) is not int or longest < 1):
        raise FormatError(f"{path}: max_seq_length is {quote(longest)}, but must be a whole number above 0")
    if longest is not None and isinstance(context, int) and longest < context:
        _LOG.warning(
            "%s: max_seq_length is %d: sentence-transformers cuts longer texts off, but here up to %d tokens "
            "count, so their embeddings differ",
            *(path, longest, context),
        )
    path = folder / WHOLE
    name, prompt = _default_prompt(path, read_json(path)) if path.exists() else ("", "")
    if prompt:
        _LOG.warning(
            "%s: default_prompt_name is %s: sentence-transformers puts %s before each text, but here the "
            "caller does",
            *(path, quote(name), quote(prompt)),
        )


def _default_prompt(path: Path, settings: dict[str, Any]) -> tuple[str, str]:
    """The name and the text of the prompt that precedes texts, both empty for none."""
    name, prompts = settings.get("default_prompt_name"), settings.get("prompts")
    if name is None:
        return "", ""
    prompt = prompts.get(name) if isinstance(prompts, dict) and isinstance(name, str) else None
    if not isinstance(prompt, str):
        raise FormatError(f"{path}: default_prompt_name is {quote(name)}, which is no text in prompts")
    return name, prompt
