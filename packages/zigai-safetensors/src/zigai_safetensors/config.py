"""config.json as hyperparameters, by the names of its family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_core.contracts.hyperparameter_keys import UNKNOWN

WITHOUT_EFFECT = frozenset(
    (
        "quantization_config",
        *("_name_or_path", "architectures", "auto_map", "model_type", "transformers_version", "torch_dtype"),
        *(
            "dtype",
            "use_cache",
            "bos_token_id",
            "eos_token_id",
            "pad_token_id",
            "sep_token_id",
            "unk_token_id",
        ),
        *(
            "tie_word_embeddings",
            "_attn_implementation",
            "_attn_implementation_autoset",
            "attn_implementation",
        ),
        *("output_attentions", "output_hidden_states", "return_dict", "use_return_dict", "torchscript"),
        *("is_decoder", "is_encoder_decoder", "add_cross_attention", "cross_attention_hidden_size"),
        *(
            "id2label",
            "label2id",
            "problem_type",
            "finetuning_task",
            "task_specific_params",
            "chunk_size_feed_forward",
        ),
        *(
            "pruned_heads",
            "tokenizer_class",
            "prefix",
            "gradient_checkpointing",
            "unsloth_version",
            "unsloth_fixed",
        ),
    )
)
"""Keys of every configuration that do not change results, and those that are read elsewhere."""

_TIED = "tie_word_embeddings"

ROPE = ("rope_theta", "rope_scaling", "rope_parameters")
FULL, SLIDING = "full_attention", "sliding_attention"
"""Kinds of layers, by which `rope_parameters` may hold an object each."""

_ORIGINAL = "original_max_position_embeddings"
_YARN = {
    _ORIGINAL: "rope.scaling.original_context_length",
    "beta_fast": "rope.scaling.yarn_beta_fast",
    "beta_slow": "rope.scaling.yarn_beta_slow",
    "attention_factor": "rope.scaling.yarn_attn_factor",
}
"""The hyperparameter of each setting of YaRN."""

_ROPE_KEYS: Mapping[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor", _ORIGINAL),  # the second has no effect there
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", _ORIGINAL),
    "yarn": ("factor", *_YARN),
}
"""The scalings of RoPE, and the settings of each."""


def one_object(
    config: Mapping[str, Any], names: HuggingFaceNames, path: Path
) -> tuple[dict[str, Any], HuggingFaceNames]:
    """Returns the settings, those of `names.section` and defaults among them, and the names for them.

    Raises `FormatError` for a section that is none, and for settings that contradict each other.
    """
    settings = dict(config)
    if names.section is not None:
        inner = settings.pop(names.section, None)
        if not isinstance(inner, dict):
            raise FormatError(f"{path}: {names.section} is {quote(inner)}, but must be an object")
        for key, value in inner.items():
            outer = settings.get(key)
            described = key in names.left_out or (key in WITHOUT_EFFECT and key != _TIED)
            if outer is not None and value is not None and outer != value and not described:
                raise FormatError(
                    f"{path}: {quote(key)} is {quote(outer)}, but {quote(value)} in {names.section}"
                )
            settings[key] = outer if value is None else value
    settings = {**names.defaults, **settings}
    chosen = (variant for key, variant in names.variants.items() if settings.get(key) is True)
    return settings, next(chosen, names)


def hyperparameters(
    config: Mapping[str, Any], names: HuggingFaceNames, path: Path
) -> tuple[dict[str, Any], np.ndarray[Any, np.dtype[np.float32]] | None]:
    """Returns the hyperparameters, and the divisors of RoPE's frequencies of Llama 3, if it has any.

    A key that is not known, with a value other than null, false or an empty one, is passed on as
    `config.KEY`, so that loading refuses it. Raises `UnsupportedError` for a value of `names.required` that
    differs, and for a scaling of RoPE that is not known.
    """
    values: dict[str, Any] = {}
    for key, value in config.items():
        if key in names.keys:
            if value is not None:
                values[names.keys[key]] = value
        elif (
            key in names.computed
            or key in names.required
            or key in names.left_out
            or key in WITHOUT_EFFECT
            or key in ROPE
        ):
            continue
        elif value not in (None, False, "", [], {}):
            values[UNKNOWN + key] = value if isinstance(value, (int, float, str)) else str(value)
    for key, allowed in names.required.items():
        found = config.get(key, allowed[0])
        if found not in allowed:
            raise UnsupportedError(
                f"{path}: {key} is {quote(found)}, which {names.architecture} does not support; it must be "
                f"{' or '.join(map(quote, allowed))}"
            )
    divisors = _rope(config, values, path)
    for key, compute in names.computed.items():
        if key in config:
            values |= _computed(path, key, config[key], compute)
    return values, divisors


def _computed(
    path: Path, key: str, value: Any, compute: Callable[[Any], Mapping[str, Any]]
) -> Mapping[str, Any]:
    """What a family computes from a value; its errors with the file and the key."""
    try:
        return compute(value)
    except UnsupportedError as error:
        raise UnsupportedError(f"{path}: {key}: {error}") from None
    except (ValueError, TypeError, ArithmeticError) as error:
        raise FormatError(f"{path}: {key} is {quote(value)}: {error}") from None


def _rope(
    config: Mapping[str, Any], values: dict[str, Any], path: Path
) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    """Adds RoPE's base and scaling. Source: transformers, modeling_rope_utils."""
    given = _full_layers(_rope_settings(config, path), values, path)
    base = given.get("rope_theta", config.get("rope_theta", 10000.0))
    values["rope.freq_base"] = _positive(path, "rope_theta", base)
    kind = given.get("rope_type", given.get("type", "default"))
    if kind not in _ROPE_KEYS:
        raise UnsupportedError(
            f"{path}: the scaling of RoPE {quote(kind)} is not supported; supported are "
            f"{', '.join(_ROPE_KEYS)}"
        )
    for key, value in given.items():
        without_effect = value is None or (key == "partial_rotary_factor" and value == 1)
        if key not in ("rope_type", "type", "rope_theta", *_ROPE_KEYS[kind]) and not without_effect:
            raise UnsupportedError(f"{path}: rope_scaling.{quote(key)} is not supported for {kind}")
    if kind == "default":
        return None
    factor = _positive(path, "rope_scaling.factor", given.get("factor"))
    if kind == "linear":
        values |= {"rope.scaling.type": "linear", "rope.scaling.factor": factor}
        return None
    original = given.get(_ORIGINAL, config.get(_ORIGINAL))
    if kind == "yarn":
        values |= {"rope.scaling.type": "yarn", "rope.scaling.factor": factor}
        values |= {ours: given[theirs] for theirs, ours in _YARN.items() if given.get(theirs) is not None}
        if original is None:
            values["rope.scaling.original_context_length"] = values.get("context_length")
        return None
    length = _positive(path, _ORIGINAL, original)
    if "rope.freq_base_swa" in values:
        raise UnsupportedError(f"{path}: the scaling of RoPE llama3 is not supported for one kind of layers")
    return _llama3(config, given, values, factor, length, path)


def _rope_settings(config: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """The object with RoPE's settings: `rope_parameters`, or `rope_scaling` of transformers 4."""
    found = {key: config[key] for key in ("rope_parameters", "rope_scaling") if config.get(key)}
    for key, value in found.items():
        if not isinstance(value, dict):
            raise FormatError(f"{path}: {key} is {quote(value)}, but must be an object")
    if len(found) == 2 and found["rope_parameters"] != found["rope_scaling"]:
        raise FormatError(f"{path}: rope_parameters and rope_scaling differ")
    return next(iter(found.values()), {})


def _full_layers(given: Mapping[str, Any], values: dict[str, Any], path: Path) -> Mapping[str, Any]:
    """The settings of layers of full attention; if those with a window have their own, adds their base."""
    if not given.keys() & {FULL, SLIDING}:
        return given
    for kind, settings in given.items():
        if kind not in (FULL, SLIDING):
            raise UnsupportedError(
                f"{path}: rope_parameters has settings of {quote(kind)}, which is not known"
            )
        if not isinstance(settings, dict):
            raise FormatError(f"{path}: rope_parameters.{kind} is {quote(settings)}, but must be an object")
    local = given.get(SLIDING, {})
    scaled = [key for key, value in local.items() if key != "rope_theta" and value not in (None, "default")]
    if scaled:
        what = f"{scaled[0]} {quote(local[scaled[0]])}"
        raise UnsupportedError(f"{path}: rope_parameters.{SLIDING}: {what} is not supported, a base alone is")
    if "rope_theta" in local:
        values["rope.freq_base_swa"] = _positive(path, f"{SLIDING}.rope_theta", local["rope_theta"])
    full: Mapping[str, Any] = given.get(FULL, {})
    return full


def _llama3(
    config: Mapping[str, Any],
    given: Mapping[str, Any],
    values: Mapping[str, Any],
    factor: float,
    original: float,
    path: Path,
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The divisors of the frequencies of Llama 3 (arXiv:2407.21783), which stretch long waves."""
    low = _positive(path, "rope_scaling.low_freq_factor", given.get("low_freq_factor"))
    high = _positive(path, "rope_scaling.high_freq_factor", given.get("high_freq_factor"))
    heads = _positive(path, "num_attention_heads", config.get("num_attention_heads"))
    width = config.get("head_dim") or _positive(path, "hidden_size", config.get("hidden_size")) // heads
    width = int(_positive(path, "head_dim", width))
    if not (high > low and 2 <= width <= 65536):
        raise FormatError(f"{path}: rope_scaling has the factors {low} and {high} for heads of {width}")
    frequencies = float(values["rope.freq_base"]) ** -(np.arange(0, width, 2, dtype=np.float64) / width)
    waves = 2 * np.pi / frequencies
    smooth = np.clip((original / waves - low) / (high - low), 0, 1)
    scaled = (1 - smooth) / factor + smooth
    scaled = np.where(waves > original / low, 1 / factor, np.where(waves < original / high, 1.0, scaled))
    return (1 / scaled).astype(np.float32)


def _positive(path: Path, key: str, value: Any) -> float:
    """The number; `FormatError` if it is none, not above zero, or too large."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise FormatError(f"{path}: {key} is {quote(value)}, but must be a number")
    if not 0 < value < 1e30:
        raise FormatError(f"{path}: {key} is {quote(value)}, but must be above 0 and below 1e30")
    return float(value)
