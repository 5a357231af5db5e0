"""generation_config.json: the tokens that end a reply, and sampling defaults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zigai_core.contracts.errors import FormatError, SamplingError, quote
from zigai_core.contracts.options import SamplingOptions

OPTIONS = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "repetition_penalty": "repeat_penalty",
}
"""The field of `SamplingOptions` of each key."""


def end_ids(generation: Mapping[str, Any], config: Mapping[str, Any], folder: Path) -> list[int]:
    """Returns the ids that end a reply: those of generation_config.json, else of config.json."""
    given = generation.get("eos_token_id")
    given = config.get("eos_token_id") if given is None else given
    ids = given if isinstance(given, list) else [] if given is None else [given]
    for each in ids:
        if type(each) is not int:
            raise FormatError(
                f"{folder}: eos_token_id is {quote(given)}, but must be a whole number or a list of them"
            )
    return ids


def sampling(generation: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Returns the sampling defaults by field of `SamplingOptions`; empty unless the file asks for sampling.

    Raises `FormatError` for a value out of range.
    """
    if not generation.get("do_sample"):
        return {}
    found = {ours: generation[key] for key, ours in OPTIONS.items() if generation.get(key) is not None}
    for name, value in found.items():
        try:
            SamplingOptions(**{name: value})
        except SamplingError as error:
            raise FormatError(f"{path}: {error}") from None
    return found
