"""Sampling defaults in a file's metadata, as options of `SamplingOptions`.

Source: gguf's constants (`general.sampling.*`); the values mean what they mean to llama.cpp's common_sampler.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from zigai_core.contracts.errors import SamplingError, quote
from zigai_core.contracts.options import SamplingOptions
from zigai_gguf.keys import Keys
from zigai_gguf.values import ValueType

_LOG = logging.getLogger("zigai.gguf")

PREFIX = "general.sampling."
SEQUENCE = "sequence"

ROW_STEPS = {
    "penalties": "penalties",
    "dry": "dry",
    "top_n_sigma": "top_n_sigma",
    "top-n-sigma": "top_n_sigma",
}
"""Steps of llama.cpp that edit the whole row of logits here, and their names."""
CANDIDATE_STEPS = {
    **dict.fromkeys(("top_k", "top-k"), "top_k"),
    **dict.fromkeys(("typ_p", "typical_p", "typical-p", "typical", "typ-p", "typ"), "typical_p"),
    **dict.fromkeys(("top_p", "top-p", "nucleus"), "top_p"),
    **dict.fromkeys(("min_p", "min-p"), "min_p"),
    "xtc": "xtc",
    **dict.fromkeys(("temperature", "temp"), "temperature"),
}
"""Steps of llama.cpp that choose among candidates, with its other spellings, and their names here."""


def read_sampling(keys: Keys) -> dict[str, Any]:
    """Returns the sampling defaults of a file, by field of `SamplingOptions`; empty if it has none.

    A key, or a step of the sequence, that is not known is left out with a warning. Raises `FormatError`, with
    the key, for a value of another type or out of range.
    """
    found: dict[str, Any] = {}
    for key in keys.metadata:
        if not key.startswith(PREFIX):
            continue
        name = key.removeprefix(PREFIX)
        if name == SEQUENCE:
            found["steps"] = _steps(keys, key)
        elif name in _READERS:
            option, reader = _READERS[name]
            found[option] = _checked(keys, key, option, reader(keys, key))
        else:
            _LOG.warning("%s: the sampling default %s is not known and has no effect", keys.path, quote(key))
    return found


def _checked(keys: Keys, key: str, option: str, value: Any) -> Any:
    try:
        SamplingOptions(**{option: value})
    except SamplingError as error:
        raise keys.error(key, f"cannot be used: {error}") from None
    return value


def _whole(keys: Keys, key: str) -> int | None:
    return keys.integer(key)


def _number(keys: Keys, key: str) -> float:
    """A number; of float32, the shortest one that is stored the same: 0.95, not 0.949999988."""
    value = keys.metadata[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise keys.error(key, f"is {keys.metadata.value_type(key).name}, but must be a number")
    return float(str(np.float32(value)) if keys.metadata.value_type(key) is ValueType.FLOAT32 else value)


def _top_k(keys: Keys, key: str) -> int:
    """In llama.cpp, 0 and below keep all tokens."""
    return max(0, _whole(keys, key) or 0)


def _temperature(keys: Keys, key: str) -> float:
    """In llama.cpp, 0 and below take the most likely token."""
    value = _number(keys, key)
    return 0.0 if value < 0 else value


_READERS: dict[str, tuple[str, Callable[[Keys, str], Any]]] = {
    "top_k": ("top_k", _top_k),
    "top_p": ("top_p", _number),
    "min_p": ("min_p", _number),
    "xtc_probability": ("xtc_probability", _number),
    "xtc_threshold": ("xtc_threshold", _number),
    "temp": ("temperature", _temperature),
    "penalty_last_n": ("penalty_last_n", _whole),
    "penalty_repeat": ("repeat_penalty", _number),
    "mirostat": ("mirostat", _whole),
    "mirostat_tau": ("mirostat_tau", _number),
    "mirostat_eta": ("mirostat_eta", _number),
}
"""The field of `SamplingOptions` and the reader of each key."""


def _steps(keys: Keys, key: str) -> tuple[str, ...]:
    """The sampling chain: the file's order within each stage, the bias before all, mirostat at the end."""
    rows: list[str] = []
    candidates: list[str] = []
    for name in (keys.text(key) or "").split(";"):
        name = name.strip()
        stage = rows if name in ROW_STEPS else candidates
        step = ROW_STEPS.get(name) or CANDIDATE_STEPS.get(name)
        if step is None:
            if name:
                _LOG.warning(
                    "%s: the step %s of %s is not known and is left out", keys.path, quote(name), quote(key)
                )
        elif step in stage:
            raise keys.error(key, f"names the step {step} twice")
        else:
            if stage is rows and candidates:
                _LOG.warning(
                    "%s: in %s, the step %s runs before %s, because it edits all logits",
                    *(keys.path, quote(key), step, candidates[0]),
                )
            stage.append(step)
    return ("logit_bias", *rows, *candidates, "mirostat")
