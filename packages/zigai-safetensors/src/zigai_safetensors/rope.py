"""RoPE's settings in config.json as hyperparameters.

Source: transformers, modeling_rope_utils, whose keys are named here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_safetensors import rope_proportional

Tensors = dict[str, np.ndarray[Any, np.dtype[np.float32]]]
"""Arrays by the name of a tensor in GGUF."""

KEYS = ("rope_theta", "rope_scaling", "rope_parameters")
"""Keys of config.json with settings of RoPE."""

_OBJECTS = ("rope_parameters", "rope_scaling")
"""Those that hold an object, the newer one first."""

PARTIAL = "partial_rotary_factor"
"""The rotated share of a head, which a family may name as a key of config.json."""

LOCAL = "rope.freq_base_swa"
"""The hyperparameter of the base of layers with a window."""

FULL, SLIDING = "full_attention", "sliding_attention"
"""Kinds of layers, by which `rope_parameters` may hold an object each."""

_ORIGINAL = "original_max_position_embeddings"
_YARN = {
    _ORIGINAL: "rope.scaling.original_context_length",
    "beta_fast": "rope.scaling.yarn_beta_fast",
    "beta_slow": "rope.scaling.yarn_beta_slow",
    "attention_factor": "rope.scaling.yarn_attn_factor",
    "truncate": "rope.scaling.yarn_truncate",
}
"""The hyperparameter of each setting of YaRN."""

_MAGNITUDES = ("mscale", "mscale_all_dim")
"""Settings of YaRN of which its magnitude follows, without `attention_factor`."""

_SCALINGS: Mapping[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor", _ORIGINAL),  # the second has no effect there
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", _ORIGINAL),
    "yarn": ("factor", *_YARN, *_MAGNITUDES),
    "longrope": ("factor", "short_factor", "long_factor", "attention_factor", _ORIGINAL),
    rope_proportional.KIND: ("factor",),
}
"""The scalings of RoPE, and the settings of each."""

_OWN = frozenset(("rope_type", "type", "rope_theta")).union(*_SCALINGS.values())
"""The settings of RoPE that this module reads; a family may name more of them as keys of config.json."""

_RENAMED = {"su": "longrope"}
"""Names of scalings in old files: the first ones of Phi-3 (transformers, models/phi3)."""

_SECTIONED = "mrope"
"""The name of M-RoPE as a scaling, in first folders of Qwen2-VL: for a text, RoPE without one."""


def named(names: HuggingFaceNames) -> set[str]:
    """Returns the keys of config.json that a family names."""
    computed = {key for given in names.computed for key in ((given,) if isinstance(given, str) else given)}
    return computed.union(names.keys, names.required, names.keys_without_effect)


def lifted(config: Mapping[str, Any], names: HuggingFaceNames, path: Path) -> dict[str, Any]:
    """Returns the configuration with RoPE's base, and the settings of RoPE that a family names, as keys.

    They may be keys of config.json or stand in the object with RoPE's settings, as the rotated share may; so
    may the base of layers with a window. Raises `FormatError` if they stand in both and differ.
    """
    found = dict(config)
    if not _objects(config) and _OBJECTS[0] in names.defaults:
        found[_OBJECTS[0]] = names.defaults[_OBJECTS[0]]
    where, given = _object(found, path)
    at, full = _full_layers(where, given, path)
    for key in ("rope_theta", *sorted(({PARTIAL} | (full.keys() - _OWN)) & named(names))):
        if key in full and _agree(found.get(key), full[key], path, key, at):
            found[key] = full[key]
    local = given.get(SLIDING, {}).get("rope_theta") if full is not given else None
    for key in (key for key, ours in names.keys.items() if ours == LOCAL):
        _agree(found.get(key), local, path, key, f"{where}.{SLIDING}.rope_theta")
    return found


def _agree(outer: Any, inner: Any, path: Path, key: str, at: str) -> bool:
    """False if only the key holds, `outer`; `FormatError` if both are given and differ."""
    if outer is not None and inner is not None and outer != inner:
        raise FormatError(f"{path}: {key} is {quote(outer)}, but {quote(inner)} in {at}")
    return outer is None


def add(config: Mapping[str, Any], names: HuggingFaceNames, values: dict[str, Any], path: Path) -> Tensors:
    """Adds RoPE's base and scaling to hyperparameters; returns divisors of frequencies by their GGUF names.

    Source: transformers, modeling_rope_utils. Raises `UnsupportedError` for a scaling that is not known.
    """
    where, given = _object(config, path)
    at, full = _full_layers(where, given, path)
    if full is not given:
        _local_base(where, given, values, path)
    for key, ours in names.keys.items():
        if ours == LOCAL and config.get(key) is not None:
            values[LOCAL] = _positive(path, key, config[key])
    stated = f"{at}.rope_theta" if full.get("rope_theta") is not None else "rope_theta"
    values["rope.freq_base"] = _positive(path, stated, config.get("rope_theta", 10000.0))
    kind = full.get("rope_type", full.get("type", "default"))
    kind = _RENAMED.get(kind, kind) if isinstance(kind, str) else kind
    if kind == _SECTIONED and "mrope_section" in named(names):
        kind = "default"
    if not isinstance(kind, str) or kind not in _SCALINGS:
        raise UnsupportedError(
            f"{path}: {at}: the scaling of RoPE {quote(kind)} is not supported; supported are "
            f"{', '.join(_SCALINGS)}"
        )
    known = named(names) - _OWN
    share = PARTIAL in known
    for key, value in full.items():
        without_effect = value is None or (key == PARTIAL and value == 1) or key in known
        without_effect |= key == PARTIAL and kind == rope_proportional.KIND  # see `add_late`
        if key not in ("rope_type", "type", "rope_theta", *_SCALINGS[kind]) and not without_effect:
            raise UnsupportedError(f"{path}: {at}.{quote(key)} is not supported for {kind}")
    if kind == "default" or (kind == rope_proportional.KIND and full.get("factor") is None):
        return {}
    part = _positive(path, PARTIAL, config.get(PARTIAL) or 1.0) if share else 1.0
    if kind == "longrope":
        return _longrope(at, full, config, values, _rotated(config, path, part), path)
    factor = _positive(path, f"{at}.factor", full.get("factor"))
    if kind in ("linear", rope_proportional.KIND):
        values |= {"rope.scaling.type": "linear", "rope.scaling.factor": factor}
        return {}
    original = full.get(_ORIGINAL, config.get(_ORIGINAL))
    if kind == "yarn":
        values |= {"rope.scaling.type": "yarn", "rope.scaling.factor": factor}
        values |= {ours: full[theirs] for theirs, ours in _YARN.items() if full.get(theirs) is not None}
        if not isinstance(full.get("truncate", True), bool):  # transformers takes null for false
            raise FormatError(
                f"{path}: {at}.truncate is {quote(full['truncate'])}, but must be true or false"
            )
        if original is None:
            values["rope.scaling.original_context_length"] = values.get("context_length")
        if full.get("attention_factor") is None:
            _add_magnitude(at, full, factor, values, path)
        return {}
    length = _positive(path, f"{at}.{_ORIGINAL}" if _ORIGINAL in full else _ORIGINAL, original)
    if LOCAL in values:
        raise UnsupportedError(
            f"{path}: {at}: the scaling of RoPE llama3 is not supported for one kind of layers"
        )
    rotated = _rotated(config, path, part)
    return {"rope_freqs.weight": _llama3(at, full, values, rotated, factor, length, path)}


def add_late(config: Mapping[str, Any], values: Mapping[str, Any], path: Path) -> Tensors:
    """Returns what RoPE needs by hyperparameters that a family computes: divisors by their GGUF names."""
    at, full = _full_layers(*_object(config, path), path)
    proportional = full.get("rope_type", full.get("type")) == rope_proportional.KIND
    return rope_proportional.divisors(at, full, values, path) if proportional else {}


def _add_magnitude(
    at: str, given: Mapping[str, Any], factor: float, values: dict[str, Any], path: Path
) -> None:
    """Adds YaRN's magnitude from `mscale` and `mscale_all_dim`, of which one alone has no effect.

    It is m(mscale) / m(mscale_all_dim) with m(s) = 1 + 0.1 s ln(factor) (transformers, modeling_rope_utils).
    """
    if not all(given.get(key) for key in _MAGNITUDES):
        return
    own, all_dim = (_positive(path, f"{at}.{key}", given[key]) for key in _MAGNITUDES)
    if own == 1:  # llama.cpp knows this key alone
        values["rope.scaling.yarn_log_multiplier"] = all_dim
        return
    growth = 0.1 * math.log(max(factor, 1.0))
    values["rope.scaling.yarn_attn_factor"] = (1 + own * growth) / (1 + all_dim * growth)


def _objects(config: Mapping[str, Any]) -> dict[str, Any]:
    """What stands in the configuration for RoPE's settings; null and an empty object are nothing."""
    return {key: config[key] for key in _OBJECTS if config.get(key) not in (None, {})}


def _object(config: Mapping[str, Any], path: Path) -> tuple[str, Mapping[str, Any]]:
    """The key of the object with RoPE's settings, and the object.

    It is `rope_parameters`, or `rope_scaling` of transformers 4.
    """
    found = _objects(config)
    for key, value in found.items():
        if not isinstance(value, dict):
            raise FormatError(f"{path}: {key} is {quote(value)}, but must be an object")
    if len(found) == 2 and found["rope_parameters"] != found["rope_scaling"]:
        raise FormatError(f"{path}: rope_parameters and rope_scaling differ")
    return next(iter(found.items()), ("rope_parameters", {}))


def _full_layers(where: str, given: Mapping[str, Any], path: Path) -> tuple[str, Mapping[str, Any]]:
    """The place and the settings of layers of full attention, which are those of all unless kinds differ."""
    if not given.keys() & {FULL, SLIDING}:
        return where, given
    for kind, settings in given.items():
        if kind not in (FULL, SLIDING):
            raise UnsupportedError(f"{path}: {where} has settings of {quote(kind)}, which is not known")
        if not isinstance(settings, dict):
            raise FormatError(f"{path}: {where}.{kind} is {quote(settings)}, but must be an object")
    return f"{where}.{FULL}", given.get(FULL, {})


def _local_base(where: str, given: Mapping[str, Any], values: dict[str, Any], path: Path) -> None:
    """Adds the base of layers with a window, if they have settings of their own."""
    local = given.get(SLIDING, {})
    scaled = [key for key, value in local.items() if key != "rope_theta" and value not in (None, "default")]
    if scaled:
        what = f"{scaled[0]} {quote(local[scaled[0]])}"
        raise UnsupportedError(f"{path}: {where}.{SLIDING}: {what} is not supported, a base alone is")
    if "rope_theta" in local:
        values[LOCAL] = _positive(path, f"{where}.{SLIDING}.rope_theta", local["rope_theta"])


def _rotated(config: Mapping[str, Any], path: Path, share: float) -> int:
    """The number of rotated elements of a head."""
    heads = _positive(path, "num_attention_heads", config.get("num_attention_heads"))
    if config.get("head_dim") is not None:
        size = _positive(path, "head_dim", config["head_dim"])
    else:
        size = _positive(path, "hidden_size", config.get("hidden_size")) // heads
    width = int(size * share)
    if not 2 <= width <= 65536:
        raise FormatError(f"{path}: {width} elements of a head are rotated by RoPE; it must be 2 to 65536")
    return width


def _llama3(
    at: str,
    given: Mapping[str, Any],
    values: Mapping[str, Any],
    width: int,
    factor: float,
    original: float,
    path: Path,
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The divisors of the frequencies of Llama 3 (arXiv:2407.21783), which stretch long waves."""
    low = _positive(path, f"{at}.low_freq_factor", given.get("low_freq_factor"))
    high = _positive(path, f"{at}.high_freq_factor", given.get("high_freq_factor"))
    if high <= low:
        raise FormatError(
            f"{path}: {at} has the factors {low} and {high}, of which the second must be higher"
        )
    frequencies = float(values["rope.freq_base"]) ** -(np.arange(0, width, 2, dtype=np.float64) / width)
    waves = 2 * np.pi / frequencies
    smooth = np.clip((original / waves - low) / (high - low), 0, 1)
    scaled = (1 - smooth) / factor + smooth
    scaled = np.where(waves > original / low, 1 / factor, np.where(waves < original / high, 1.0, scaled))
    return (1 / scaled).astype(np.float32)


def _longrope(
    at: str,
    given: Mapping[str, Any],
    config: Mapping[str, Any],
    values: dict[str, Any],
    width: int,
    path: Path,
) -> Tensors:
    """Adds the settings of LongRoPE (arXiv:2402.13753) and returns its divisors.

    The magnitude is `attention_factor`, or √(1 + ln(s) / ln(original context)) for a context s times as long.
    """
    trained = _positive(path, "max_position_embeddings", config.get("max_position_embeddings"))
    original = _positive(path, f"{at}.{_ORIGINAL}", given.get(_ORIGINAL, config.get(_ORIGINAL, trained)))
    factor = _positive(path, f"{at}.factor", given.get("factor") or trained / original)
    magnitude = given.get("attention_factor")
    if magnitude is None:
        magnitude = (
            1.0 if factor <= 1 or original <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
        )
    values |= {
        "rope.scaling.type": "longrope",
        "rope.scaling.original_context_length": int(original),
        "rope.scaling.attn_factor": _positive(path, f"{at}.attention_factor", magnitude),
    }
    found = {}
    for key in ("short_factor", "long_factor"):
        factors = given.get(key)
        if not isinstance(factors, list) or len(factors) != width // 2:
            size = f" of {len(factors)}" if isinstance(factors, list) else ""
            raise FormatError(
                f"{path}: {at}.{key} must be an array of {width // 2} numbers, not {quote(factors)}{size}"
            )
        divisors = [_positive(path, f"{at}.{key}", each) for each in factors]
        found[f"rope_factors_{key.removesuffix('_factor')}.weight"] = np.array(divisors, np.float32)
    return found


def _positive(path: Path, key: str, value: Any) -> float:
    """The number; `FormatError` if it is none, not above zero, or too large."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise FormatError(f"{path}: {key} is {quote(value)}, but must be a number")
    if not 0 < value < 1e30:
        raise FormatError(f"{path}: {key} is {quote(value)}, but must be above 0 and below 1e30")
    return float(value)
