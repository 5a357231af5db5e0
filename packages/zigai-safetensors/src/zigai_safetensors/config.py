"""config.json as hyperparameters, by the names of its family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zigai_core.contracts.errors import FormatError, PluginError, UnsupportedError, quote
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_core.contracts.hyperparameter_keys import UNKNOWN
from zigai_safetensors import limits, rope

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


def one_object(
    config: Mapping[str, Any], names: HuggingFaceNames, path: Path
) -> tuple[dict[str, Any], HuggingFaceNames]:
    """Returns the settings, those of `names.section` and defaults among them, and the names for them.

    Raises `FormatError` for a section that is none, and for settings that contradict each other;
    `UnsupportedError` if two variants are chosen.
    """
    names = _variant(config, names, path)
    settings = dict(config)
    if names.section is not None:
        inner = settings.pop(names.section, {} if names.flat else None)
        if not isinstance(inner, dict):
            raise FormatError(f"{path}: {names.section} is {quote(inner)}, but must be an object")
        for key, value in inner.items():
            outer = settings.get(key)
            described = key in names.keys_without_effect or (key in WITHOUT_EFFECT and key != _TIED)
            if outer is not None and value is not None and outer != value and not described:
                raise FormatError(
                    f"{path}: {quote(key)} is {quote(outer)}, but {quote(value)} in {names.section}"
                )
            settings[key] = outer if value is None else value
    _check_twice(settings, names, path)
    return {**names.defaults, **rope.lifted(settings, names, path)}, names


def _check_twice(settings: Mapping[str, Any], names: HuggingFaceNames, path: Path) -> None:
    """Raises `FormatError` if two keys that mean the same setting have different values."""
    first: dict[str, str] = {}
    for key, value in settings.items():
        if value is None or key not in names.keys:
            continue
        other = first.setdefault(names.keys[key], key)
        if settings[other] != value:
            raise FormatError(
                f"{path}: {other} is {quote(settings[other])}, but {key} is {quote(value)}, and both are "
                f"{names.architecture}'s {names.keys[key]}"
            )


def _variant(config: Mapping[str, Any], names: HuggingFaceNames, path: Path) -> HuggingFaceNames:
    """The names of the class that is named first, and of those the ones that a key chooses by its value, in
    the section or beside it.
    """
    classes = config.get("architectures")
    if isinstance(classes, list) and classes and isinstance(classes[0], str):
        names = names.classes.get(classes[0], names)
    section = config.get(names.section) if names.section is not None else None
    places = (config, section if isinstance(section, dict) else {}, names.defaults)
    chosen: dict[str, HuggingFaceNames] = {}
    for wanted, variant in names.variants.items():
        key, value = (wanted, True) if isinstance(wanted, str) else wanted
        found = next((place[key] for place in places if place.get(key) is not None), None)
        if type(found) is type(value) and found == value:
            chosen[f"{key} is {quote(value)}"] = variant
    if len(chosen) > 1:
        raise UnsupportedError(f"{path}: {' and '.join(chosen)}; {names.architecture} supports one of them")
    return next(iter(chosen.values()), names)


def hyperparameters(
    config: Mapping[str, Any], names: HuggingFaceNames, path: Path
) -> tuple[dict[str, Any], rope.Tensors]:
    """Returns the hyperparameters, and the divisors of RoPE's frequencies, by tensor.

    A key that is not known, with a value other than null, false or an empty one, is passed on as
    `config.KEY`, so that loading refuses it. Raises `UnsupportedError` for a value of `names.required` that
    differs, and for a scaling of RoPE that is not known; `PluginError` for a function of `names.computed`
    that fails or does not return hyperparameters.
    """
    known = WITHOUT_EFFECT | rope.named(names) | set(rope.KEYS)
    values: dict[str, Any] = {}
    for key, value in config.items():
        if key in names.keys:
            if value is not None:
                values[names.keys[key]] = value
        elif key not in known and value not in (None, False, "", [], {}):
            values[UNKNOWN + key] = value if isinstance(value, (int, float, str)) else str(value)
    for key, allowed in names.required.items():
        found = config.get(key, allowed[0])
        if found not in allowed:
            raise UnsupportedError(
                f"{path}: {key} is {quote(found)}, which {names.architecture} does not support; it must be "
                f"{' or '.join(map(quote, allowed))}"
            )
    divisors = rope.add(config, names, values, path)
    if "block_count" in values:  # of which families make lists
        check_layers(values["block_count"], path)
    for given, compute in names.computed.items():
        keys = (given,) if isinstance(given, str) else given
        if any(key in config for key in keys):
            values |= _computed(path, {key: config.get(key) for key in keys}, compute, names.architecture)
    return values, divisors | rope.add_late(config, values, path)


def check_layers(layers: object, path: Path) -> None:
    """Raises `FormatError` unless this is the number of layers of a model."""
    if type(layers) is not int or not 1 <= layers <= limits.LAYERS:
        raise FormatError(
            f"{path}: the number of layers is {quote(layers)}, but must be a whole number, "
            f"1 to {limits.LAYERS}"
        )


def _computed(
    path: Path, given: Mapping[str, Any], compute: Callable[..., Mapping[str, Any]], architecture: str
) -> Mapping[str, Any]:
    """What a family computes from the values of keys; its errors with the file and the keys."""
    what = " and ".join(f"{key} is {quote(value)}" for key, value in given.items())
    try:
        found: Any = compute(*given.values())
    except UnsupportedError as error:
        raise UnsupportedError(f"{path}: {' and '.join(given)}: {error}") from None
    except (FormatError, ValueError, TypeError, ArithmeticError) as error:
        raise FormatError(f"{path}: {what}: {error}") from None
    except Exception as error:  # a plugin may fail in any way
        raise PluginError(
            f"{path}: {what}: the package of {architecture} fails to compute with it "
            f"({type(error).__name__}: {error}): update it"
        ) from error
    if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
        raise PluginError(
            f"{path}: {what}: the package of {architecture} computes {quote(found)} of it, which are no "
            "hyperparameters by name: update it"
        )
    return found
