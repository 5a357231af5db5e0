"""Whether a family reads the settings of a folder of Hugging Face as transformers does.

A tiny model's config.json is changed in one key at a time: the key is left out, or has another value of which
the family says that it is the same, or has no effect. Both sides read each such folder, and must compute the
same outputs of it, unless one of them refuses it.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zigai_core.api.loading import build
from zigai_core.api.reading import read
from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import PluginError, UnsupportedError, ZigAIError, quote
from zigai_core.contracts.graph import Array
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_core.testing.oracles.comparison import TOLERANCE, difference
from zigai_core.testing.oracles.evaluation import Evaluation, float_weights
from zigai_core.testing.oracles.tiny_folder import LARGEST, TinyFolder

LOG = logging.getLogger("zigai")

ABSENT = object()
"""Stands for a key that config.json does not have."""

_KINDS = {"full_attention": "sliding_attention", "sliding_attention": "full_attention"}

_ROPE = ("rope_parameters", "rope_scaling")
"""Keys of config.json whose values are objects with settings of RoPE."""

_ELSE = "the family makes something else of this value"

_SHARES = (0.3, 0.55, 0.92)
"""Numbers of which products with widths are not whole, and are rounded up, down and to even numbers."""

DIFFERENT = 1e-3
"""Smallest difference of outputs that is none of rounding, in models of up to some tens of layers, too."""


@dataclass(frozen=True)
class Variant:
    """One key of config.json with another value, and what the family says of it.

    A dot leads into an object with settings of RoPE: `rope_parameters.rope_theta`.
    """

    key: str
    value: Any
    said: str

    def __str__(self) -> str:
        if self.value is ABSENT:
            return f"without {self.key} in config.json"
        return f"with {self.key}={quote(self.value)} in config.json"

    def of(self, config: Mapping[str, Any], section: str | None) -> dict[str, Any]:
        """Returns a configuration with the key changed in it, or in its section if it stands there."""
        changed = copy.deepcopy(dict(config))
        path = self.key.split(".") if self.key.startswith(_ROPE) else [self.key]
        *outer, key = path
        inner = changed.get(section) if section is not None else None
        first = path[0]
        in_section = isinstance(inner, dict) and (first in inner or first not in changed)
        place: dict[str, Any] = inner if in_section and inner is not None else changed
        for name in outer:
            place = place[name]
        place.pop(key, None)
        if self.value is not ABSENT:
            place[key] = self.value
        return changed


def variants(
    config: Mapping[str, Any], known: Mapping[str, Any], names: HuggingFaceNames
) -> Iterator[Variant]:
    """Yields the variants of a configuration.

    `config`: the content of config.json, or of its section; `known`: what transformers makes of it, defaults
    among it.
    """
    computed = [key for given in names.computed for key in ((given,) if isinstance(given, str) else given)]
    for key in sorted({*names.keys, *names.required, *names.defaults, *computed} & {*config}):
        yield Variant(key, ABSENT, "what the family takes for a key that is missing is another value")
    for key in sorted({*names.keys, *names.defaults, *computed} & {*known}):
        if known[key] is not None:
            yield Variant(key, None, "what the family takes for null is another value")
    for key in sorted({*names.keys, *computed} - {*names.required, *_ROPE}):
        for value in _others(key, known.get(key)):
            yield Variant(key, value, _ELSE)
    for key in _ROPE:
        for path, given in _leaves(key, config.get(key)):
            for value in (ABSENT, *_others(path, given)):
                yield Variant(path, value, _ELSE)
    for key, values in names.required.items():
        for value in values:
            if value != known.get(key, ABSENT):
                yield Variant(key, value, f"the family accepts {quote(value)}, but computes something else")
    for key in names.keys_without_effect:
        for value in _others(key, known.get(key)):
            yield Variant(key, value, "the family says that the key has no effect, but it has one")


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The settings in an object, and in objects in it, by their paths: `rope_parameters.rope_theta`."""
    if not isinstance(value, Mapping):
        return
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _leaves(f"{path}.{key}", inner)
        else:
            yield f"{path}.{key}", inner


def _others(key: str, value: Any) -> list[Any]:
    """Values that a key could have instead of `value`."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, float):
        return [2 * value + 1, value / 2, *(_SHARES if 0 < value <= 1 else ())]
    if isinstance(value, int):
        return [2 * value + 1, value // 2]
    if isinstance(value, str):
        return ["relu" if value != "relu" else "gelu"] if key.endswith(("_act", "_activation")) else []
    if isinstance(value, (list, tuple)):
        return [[_KINDS.get(each, each) if isinstance(each, str) else each for each in value], [*value][::-1]]
    return [True, 3, 12, *_SHARES] if value is None else []


def check_settings(
    tiny: TinyFolder, names: HuggingFaceNames, outputs: Mapping[str, Array], plugins: Plugins | None
) -> str | None:
    """Compares what a family makes of each variant of a folder with what transformers makes of it.

    `outputs` are those of transformers for the folder as it is. Returns why nothing could be compared, None
    if everything was.

    Raises `UnsupportedError` for the first key that is read otherwise, with the value and what differs.
    """
    _check_defaults(tiny, names)
    model = read(tiny.path, plugins=plugins)
    _check_context(tiny, names, model)
    try:
        found = _computed(model, tiny, plugins)
    except ZigAIError as error:
        return f"the settings were not compared, as the graph is not built: {error}"
    if difference(found, outputs) > TOLERANCE:
        return "the settings were not compared, as the graph does not give these outputs"
    config = tiny.config()
    inner = config.get(names.section) if names.section is not None else None
    known = tiny.network.config.get_text_config().to_dict()
    for variant in variants({**config, **(inner or {})}, known, names):
        _compare(tiny, variant, variant.of(config, names.section), plugins)
    return None


def _check_defaults(tiny: TinyFolder, names: HuggingFaceNames) -> None:
    """Compares a family's defaults with those of transformers, also of keys that depend on others.

    A default that transformers refuses for this folder, since it does not fit the other settings, is left to
    folders that it fits.
    """
    for key, value in names.defaults.items():
        try:
            made = _read_by_transformers(tiny, names, Variant(key, ABSENT, ""))
        except Exception as error:  # of transformers: no folder has this
            LOG.info("without %s in config.json: %s: %s", key, type(error).__name__, error)
            continue
        try:
            same = made == _read_by_transformers(tiny, names, Variant(key, value, ""))
        except Exception:  # of transformers, which takes its own default
            same = False
        if not same:
            raise UnsupportedError(
                f"the default of {key} is {quote(made)} in transformers, not {quote(value)}"
            )


def _check_context(tiny: TinyFolder, names: HuggingFaceNames, model: ModelDescriptor) -> None:
    """Compares the context that the model was trained with, which changes no output.

    One that the family computes must be the longest text that transformers computes.
    """
    stated = getattr(tiny.network.config.get_text_config(), "max_position_embeddings", None)
    found = model.hyperparameters.get("context_length")
    if "max_position_embeddings" in names.computed and found is not None:
        if not tiny.computes(found) or tiny.computes(found + 1):
            raise UnsupportedError(
                f"context_length is {quote(found)}, which is not the length of the longest text that "
                "transformers computes"
            )
        return
    if stated is not None and found is not None and found != stated:
        raise UnsupportedError(
            f"context_length is {quote(found)}, but max_position_embeddings {quote(stated)}"
        )


def _read_by_transformers(tiny: TinyFolder, names: HuggingFaceNames, variant: Variant) -> Any:
    """The value that transformers makes of the variant's key; None if it has none."""
    config = tiny.config_of(variant.of(tiny.config(), names.section))
    return getattr(config.get_text_config(), variant.key, None)


def _compare(tiny: TinyFolder, variant: Variant, config: Mapping[str, Any], plugins: Plugins | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            other = tiny.like(Path(folder), config, LARGEST)
            expected = None if other is None else other.outputs()
        except Exception as error:  # of transformers: no folder has this
            LOG.info("%s: %s: %s", variant, type(error).__name__, error)
            return
        if expected is None or other is None:
            return
        try:
            found = _computed(read(other.path, plugins=plugins), other, plugins)
        except PluginError:
            raise
        except ZigAIError as error:
            LOG.info("%s: refused: %s", variant, error)
            return
    worst = difference(found, expected)
    if worst > DIFFERENT:
        raise UnsupportedError(
            f"{variant} the outputs differ by up to {worst:.2g} from those of transformers: {variant.said}"
        )


def _computed(model: ModelDescriptor, tiny: TinyFolder, plugins: Plugins | None) -> Mapping[str, Array]:
    """The outputs of the family's graph for a model and a text."""
    # LongRoPE chooses its factors by the context, in transformers by the length of the text.
    graph = build(model, context=len(tiny.text), plugins=plugins)
    with np.errstate(all="ignore"):
        return Evaluation(graph, float_weights(graph, model.tensors), tiny.text, tiny.types).outputs()
