"""What a family says of its folders of Hugging Face, as an oracle keeps it, and whether it is true."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

from zigai_core.api.registry import Plugins
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.huggingface import HuggingFaceNames

LOG = logging.getLogger("zigai")

SAME = 1e-5
"""Largest difference of outputs that another version of torch or another CPU may make."""


def names_used(network: Any, plugins: Plugins | None = None) -> dict[str, Any]:
    """Returns those names of a family that belong to a parameter or a setting of the model."""
    config, names = network.config.to_dict(), _chosen(network, plugins)
    parameters = [name for name, _ in network.named_parameters()]
    return {
        "model_type": network.config.model_type,
        "architecture": names.architecture,
        "tensors": {
            theirs: ours
            for theirs, ours in names.tensors.items()
            if any(pattern_of(theirs).fullmatch(name) for name in parameters)
        },
        "keys": {theirs: ours for theirs, ours in names.keys.items() if theirs in config},
        **other_names(names),
    }


def other_names(names: HuggingFaceNames) -> dict[str, Any]:
    """Returns what else a family says of its folders, as JSON has it."""
    computed = ("+".join([key] if isinstance(key, str) else key) for key in names.computed)
    return {
        "added": dict(names.added),
        "defaults": {key: _plain(value) for key, value in names.defaults.items()},
        "required": {key: [_plain(value) for value in values] for key, values in names.required.items()},
        "computed": sorted(computed),
        "without effect": sorted({*names.keys_without_effect, *names.tensors_without_effect}),
        "unsupported": sorted(names.unsupported_tensors),
    }


def check_names(network: Any, compute: Callable[[Any], Mapping[str, Any]], plugins: Plugins | None) -> None:
    """Compares what a family says of its settings with what transformers does.

    `compute` returns the outputs of a model of transformers for a text.

    Raises `UnsupportedError` for a default that is not the class's, and for a setting that is said to have no
    effect, but with another value of which the outputs are others.
    """
    names, outputs = _chosen(network, plugins), compute(network)
    config, default = network.config, type(network.config)()
    for key, value in names.defaults.items():
        stated = getattr(default, key, value)
        if stated != value:
            raise UnsupportedError(f"the default of {key} is {stated} in transformers, not {value}")
    for key in names.keys_without_effect:
        value = getattr(config, key, None)
        other = "gelu" if key.endswith(("_act", "_activation")) else not value
        if not isinstance(value, bool) and not isinstance(other, str):
            continue
        try:
            changed = type(network)(type(config)(**{**config.to_dict(), key: other})).eval()
            changed.load_state_dict(network.state_dict())
            found = compute(changed)
        except Exception as error:  # transformers refuses it, so no folder has it
            LOG.info("%s=%r: %s", key, other, error)
            continue
        if any(name in found and (found[name] - rows).abs().max() > SAME for name, rows in outputs.items()):
            raise UnsupportedError(f"{key} is said to have no effect, but with {other!r} outputs are others")


def _chosen(network: Any, plugins: Plugins | None) -> HuggingFaceNames:
    names = (plugins or Plugins.installed()).huggingface.get(network.config.model_type)
    config = network.config.to_dict()
    return next((other for key, other in names.variants.items() if config.get(key)), names)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def pattern_of(name: str) -> re.Pattern[str]:
    """A name of a tensor with `{}` for the number of a layer and `[]` for that of an expert."""
    return re.compile(re.escape(name).replace(r"\{\}", r"(\d+)").replace(r"\[\]", r"\d+"))
