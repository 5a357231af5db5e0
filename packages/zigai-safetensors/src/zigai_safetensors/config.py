"""config.json as hyperparameters, by the names of its family."""

from __future__ import annotations

from collections.abc import Mapping
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

ROPE = ("rope_theta", "rope_scaling", "rope_parameters")


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
        elif key in names.required or key in names.left_out or key in WITHOUT_EFFECT or key in ROPE:
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
    return values, divisors


def _rope(
    config: Mapping[str, Any], values: dict[str, Any], path: Path
) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    """Adds RoPE's base and scaling. Source: transformers, modeling_rope_utils."""
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(given, dict):
        raise FormatError(f"{path}: rope_scaling is {quote(given)}, but must be an object")
    base = given.get("rope_theta", config.get("rope_theta", 10000.0))
    values["rope.freq_base"] = _number(path, "rope_theta", base)
    kind = given.get("rope_type", given.get("type", "default"))
    if kind == "default":
        return None
    factor = _number(path, "rope_scaling.factor", given.get("factor"))
    if kind == "linear":
        values |= {"rope.scaling.type": "linear", "rope.scaling.factor": factor}
        return None
    original = given.get("original_max_position_embeddings", config.get("original_max_position_embeddings"))
    if kind == "yarn":
        values |= {"rope.scaling.type": "yarn", "rope.scaling.factor": factor}
        known = {
            "original_max_position_embeddings": "rope.scaling.original_context_length",
            "beta_fast": "rope.scaling.yarn_beta_fast",
            "beta_slow": "rope.scaling.yarn_beta_slow",
            "attention_factor": "rope.scaling.yarn_attn_factor",
        }
        own = {"rope_type", "type", "factor", "rope_theta"}
        other = [key for key in given if key not in known and key not in own and given[key] is not None]
        if other:
            raise UnsupportedError(f"{path}: rope_scaling.{other[0]} is not supported for yarn")
        values |= {ours: given[theirs] for theirs, ours in known.items() if given.get(theirs) is not None}
        if original is None:
            values["rope.scaling.original_context_length"] = values.get("context_length")
        return None
    if kind == "llama3":
        return _llama3(
            config, given, values, factor, _number(path, "original_max_position_embeddings", original), path
        )
    raise UnsupportedError(
        f"{path}: the scaling of RoPE {quote(kind)} is not supported; supported are default, linear, llama3 "
        "and yarn"
    )


def _llama3(
    config: Mapping[str, Any],
    given: Mapping[str, Any],
    values: Mapping[str, Any],
    factor: float,
    original: float,
    path: Path,
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The divisors of the frequencies of Llama 3 (arXiv:2407.21783), which stretch long waves."""
    low = _number(path, "rope_scaling.low_freq_factor", given.get("low_freq_factor"))
    high = _number(path, "rope_scaling.high_freq_factor", given.get("high_freq_factor"))
    heads = _number(path, "num_attention_heads", config.get("num_attention_heads"))
    width = config.get("head_dim") or _number(path, "hidden_size", config.get("hidden_size")) // heads
    width = int(_number(path, "head_dim", width))
    if not (high > low > 0 and original > 0 and 2 <= width <= 65536):
        raise FormatError(f"{path}: rope_scaling has the factors {low} and {high} for heads of {width}")
    frequencies = float(values["rope.freq_base"]) ** -(np.arange(0, width, 2, dtype=np.float64) / width)
    waves = 2 * np.pi / frequencies
    smooth = np.clip((original / waves - low) / (high - low), 0, 1)
    scaled = (1 - smooth) / factor + smooth
    scaled = np.where(waves > original / low, 1 / factor, np.where(waves < original / high, 1.0, scaled))
    return (1 / scaled).astype(np.float32)


def _number(path: Path, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise FormatError(f"{path}: {key} is {quote(value)}, but must be a number")
    return float(value)
