"""generation_config.json: the tokens that end a reply, and sampling defaults."""

from __future__ import annotations

import logging
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

UNSUPPORTED: Mapping[str, tuple[object, ...]] = {
    "bad_words_ids": (),
    "begin_suppress_tokens": (),
    "constraints": (),
    "diversity_penalty": (0,),
    "dola_layers": (),
    "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1,),
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "exponential_decay_length_penalty": (),
    "force_words_ids": (),
    "forced_bos_token_id": (),
    "forced_decoder_ids": (),
    "forced_eos_token_id": (),
    "guidance_scale": (1,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "no_repeat_ngram_size": (0,),
    "num_beam_groups": (1,),
    "num_beams": (1,),
    "penalty_alpha": (0,),
    "sequence_bias": (),
    "stop_strings": (),
    "suppress_tokens": (),
    "token_healing": (),
    "top_h": (),
    "watermarking_config": (),
}
"""Keys that change replies and are not supported, with their values without effect; null, false and empty
lists and objects have none either. Source: transformers 5.24, `GenerationConfig`. Bounds of a reply's length
(`max_length`, `max_new_tokens`) are the caller's to set."""

_LOG = logging.getLogger("zigai.safetensors")


def end_ids(generation: Mapping[str, Any], config: Mapping[str, Any], folder: Path) -> list[int]:
    """Returns the ids that end a reply: those of generation_config.json, else of config.json."""
    given, name = generation.get("eos_token_id"), "generation_config.json"
    if given is None:
        given, name = config.get("eos_token_id"), "config.json"
    ids = given if isinstance(given, list) else [] if given is None else [given]
    for each in ids:
        if type(each) is not int:
            raise FormatError(
                f"{folder / name}: eos_token_id is {quote(given)}, but must be a whole number or a "
                "list of them"
            )
    return ids


def unsupported(generation: Mapping[str, Any]) -> list[str]:
    """Returns the keys with an effect that is not supported, each with its value.

    >>> unsupported({"num_beams": 4, "no_repeat_ngram_size": 0, "temperature": 0.6})
    ['num_beams=4']
    """
    given = {key: generation[key] for key in UNSUPPORTED if generation.get(key) not in (None, [], {}, "")}
    found = [
        f"{key}={quote(value, 40)}"
        for key, value in given.items()
        if value is not False and value not in UNSUPPORTED[key]
    ]
    # transformers penalises repetition without sampling, too; here the penalty is an option of sampling.
    penalty = generation.get("repetition_penalty")
    if not generation.get("do_sample") and penalty not in (None, 1):
        found.append(f"repetition_penalty={quote(penalty, 40)} without do_sample")
    return found


def sampling(generation: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Returns the sampling defaults by field of `SamplingOptions`; empty unless the file asks for sampling.

    One warning names what changes the replies that transformers gives and is not supported here. Raises
    `FormatError` for a value out of range.
    """
    ignored = unsupported(generation)
    if ignored:
        _LOG.warning(
            "%s: %s: not supported and without effect, so replies may differ from those of transformers",
            *(path, ", ".join(ignored)),
        )
    if not generation.get("do_sample"):
        return {}
    found = {ours: generation[key] for key, ours in OPTIONS.items() if generation.get(key) is not None}
    for name, value in found.items():
        try:
            SamplingOptions(**{name: value})
        except SamplingError as error:
            raise FormatError(f"{path}: {error}") from None
    return found
