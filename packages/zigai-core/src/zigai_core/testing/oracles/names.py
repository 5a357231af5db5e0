"""What a family says of its folders of Hugging Face, as an oracle keeps it."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from zigai_core.api.registry import Plugins
from zigai_core.contracts.errors import ZigAIError, quote
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_core.testing.oracles.oracle import plain
from zigai_core.testing.oracles.stored import stored_weights

SAME = 1e-5
"""Largest difference of outputs that another version of torch or another CPU may make."""

PARTS = "parts"
"""Under this key an oracle has the shape of each tensor that parts are made of, and a checksum of them."""

COMPUTED = "computed"
"""Under this key an oracle has what the functions of `HuggingFaceNames.computed` return."""


def names_used(network: Any, names: HuggingFaceNames, config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those names of a family that belong to a parameter or a setting of the model.

    `config`: the content of config.json.
    """
    known = network.config.to_dict()
    section = config.get(names.section) if names.section is not None else None
    settings = {**names.defaults, **config, **(section or {})}
    return {
        "model_type": network.config.model_type,
        "architecture": names.architecture,
        "tensors": tensors_used(network, names),
        "keys": {theirs: ours for theirs, ours in names.keys.items() if theirs in known},
        **other_names(names),
        PARTS: {
            theirs: _made(names, theirs, list(shape), settings)
            for theirs, shape in _shapes(network, names).items()
        },
        COMPUTED: {
            " and ".join(_keys(given)): _result(
                names, given, [plain(settings.get(key)) for key in _keys(given)]
            )
            for given in names.computed
        },
    }


def tensors_used(network: Any, names: HuggingFaceNames) -> dict[str, str]:
    """Returns those names of tensors that belong to a parameter of a model of transformers."""
    parameters = [name for name, _ in stored_weights(network)]
    return {
        theirs: ours
        for theirs, ours in names.tensors.items()
        if any(pattern_of(theirs).fullmatch(name) for name in parameters)
    }


def other_names(names: HuggingFaceNames) -> dict[str, Any]:
    """Returns what else a family says of its folders, as JSON has it."""
    return {
        "added": dict(names.added),
        "defaults": {key: plain(value) for key, value in names.defaults.items()},
        "required": {key: [plain(value) for value in values] for key, values in names.required.items()},
        "without effect": sorted({*names.keys_without_effect, *names.tensors_without_effect}),
        "unsupported": sorted(names.unsupported_tensors),
        **({} if names.rope_pairing == "half" else {"rope_pairing": names.rope_pairing}),
        PARTS: {},
        COMPUTED: {},
    }


def changed_names(recorded: Mapping[str, Any], names: HuggingFaceNames) -> list[str]:
    """Returns what a family says otherwise than when an oracle was recorded, each as a sentence."""
    given = {key: each["given"] for key, each in recorded[COMPUTED].items()}
    now = {
        "model_type": recorded["model_type"],
        "architecture": names.architecture,
        "tensors": {key: names.tensors.get(key) for key in recorded["tensors"]},
        "keys": {key: names.keys.get(key) for key in recorded["keys"]},
        **other_names(names),
        PARTS: {
            theirs: _made(names, theirs, each["shape"], each.get("sizes", {}))
            for theirs, each in recorded[PARTS].items()
            if theirs in names.parts
        },
        COMPUTED: {
            what: _result(names, keys, given.get(what, []))
            for keys in names.computed
            for what in [" and ".join(_keys(keys))]
        },
    }
    return differing_names(recorded, now)


def differing_names(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Returns which names of two oracles differ, each as a sentence."""
    found = []
    for what in sorted({*one, *other}):
        first, second = one.get(what), other.get(what)
        if isinstance(first, list) and isinstance(second, list):
            first, second = dict.fromkeys(first, "said"), dict.fromkeys(second, "said")
        if not (isinstance(first, Mapping) and isinstance(second, Mapping)):
            first, second = {"it": first}, {"it": second}
        found += [
            f"{what}: {key} was {first.get(key, 'not there')} and is {second.get(key, 'not there')}"
            for key in sorted({*first, *second})
            if (key in first) != (key in second) or first.get(key) != second.get(key)
        ]
    return found


def excused_tensors(names: HuggingFaceNames) -> list[str]:
    """Returns the patterns of tensors to leave out that fit a tensor of the graph, or a bias of one."""
    found = []
    named = [name.replace("{}", "0").replace("[]", "0") for name in (*names.tensors, *names.parts)]
    biases = [name.removesuffix("weight") + "bias" for name in named if name.endswith(".weight")]
    for pattern in {**names.tensors_without_effect, **names.unsupported_tensors}:
        wrong = next((each for each in (*named, *biases) if fnmatchcase(each, pattern)), None)
        if wrong is not None:
            found.append(f"{quote(pattern)} fits {wrong}")
    return found


def chosen(network: Any, plugins: Plugins | None) -> HuggingFaceNames:
    """Returns the family's names for a model of transformers."""
    names = (plugins or Plugins.installed()).huggingface.get(network.config.model_type)
    names = names.classes.get(type(network).__name__, names)
    config = network.config.to_dict()
    for wanted, other in names.variants.items():
        key, value = (wanted, True) if isinstance(wanted, str) else wanted
        if config.get(key) == value:
            return other
    return names


def _shapes(network: Any, names: HuggingFaceNames) -> dict[str, tuple[int, ...]]:
    """The shape of a parameter of a model of transformers for each tensor that the family makes parts of."""
    found = {}
    for theirs in names.parts:
        pattern = pattern_of(theirs)
        for name, parameter in stored_weights(network):
            if pattern.fullmatch(name):
                found[theirs] = tuple(parameter.shape)
    return found


def _made(
    names: HuggingFaceNames, theirs: str, shape: list[int], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """What the parts of a tensor of this shape are, as a checksum of those of counted numbers.

    `settings`: the values of the configuration keys that parts need, which are kept, too.
    """
    given = (np.arange(math.prod(shape), dtype=np.float32) / 16).reshape(shape)
    checksums: dict[str, str] = {}
    sizes: dict[str, Any] = {}
    for part in names.parts[theirs]:
        known = {name: settings[name] for name in part.sizes if name in settings}
        sizes |= known
        entries = given if part.each else [given]
        with np.errstate(all="ignore"):
            if len(known) < len(part.sizes):
                continue  # an oracle of other names, which have no such keys
            parts = [part.change(entry, *known.values()) for entry in entries]
        made = np.stack(parts) if part.each else parts[0]
        key = part.name if part.stored is None else f"{part.name} of {part.stored}"
        with np.errstate(over="ignore"):  # an exponential of a long row may be infinite
            halves = np.ascontiguousarray(made, np.float16)
        checksums[key] = f"{[*made.shape]} {zlib.crc32(halves.tobytes()):x}"
    return {"shape": shape, **({"sizes": sizes} if sizes else {}), **checksums}


def _keys(given: str | tuple[str, ...]) -> list[str]:
    return [given] if isinstance(given, str) else [*given]


def _result(names: HuggingFaceNames, keys: str | tuple[str, ...], given: Sequence[Any]) -> dict[str, Any]:
    """What a family computes of the values of keys, as JSON has it."""
    try:
        found = {key: plain(value) for key, value in names.computed[keys](*given).items()}
    except (ZigAIError, ValueError, TypeError, ArithmeticError) as error:
        return {"given": [*given], "refused": str(error)}
    return {"given": [*given], "result": found}


def pattern_of(name: str) -> re.Pattern[str]:
    """A name of a tensor with `{}` for the number of a layer and `[]` for that of an expert."""
    return re.compile(re.escape(name).replace(r"\{\}", r"(\d+)").replace(r"\[\]", r"\d+"))
