"""modules.json: what sentence-transformers computes after a model, which is pooling and dense layers.

Source: sentence-transformers 6.2 (Transformer, Pooling, Dense, Normalize), whose files these are: each module
has a folder with its settings in config.json and weights, if it has any.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_safetensors import limits
from zigai_safetensors.files import parse_json, read_json, read_text
from zigai_safetensors.shard import read_shard

MODULES = "modules.json"
_PACKAGE = "sentence_transformers"
_TYPES = {
    **{f"{_PACKAGE}.models.{kind}": kind for kind in ("Transformer", "Pooling", "Dense", "Normalize")},
    f"{_PACKAGE}.base.modules.transformer.Transformer": "Transformer",  # from version 5.4 on
    f"{_PACKAGE}.sentence_transformer.modules.pooling.Pooling": "Pooling",
    f"{_PACKAGE}.base.modules.dense.Dense": "Dense",
    f"{_PACKAGE}.sentence_transformer.modules.normalize.Normalize": "Normalize",
    f"{_PACKAGE}.base.modules.normalize.Normalize": "Normalize",  # from version 6 on
}
"""The kind of module by its type."""
_POOLING = {"mean": 1, "cls": 2, "lasttoken": 3}
"""GGUF's `pooling_type` of each pooling that is read."""
_MODES = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "lasttoken",
}
_DENSE: Mapping[str, tuple[Any, Sequence[Any]]] = {
    "activation_function": ("torch.nn.modules.activation.Tanh", ["torch.nn.modules.linear.Identity"]),
    "use_residual": (False, [False]),
    "module_input_name": ("sentence_embedding", ["sentence_embedding"]),
    "module_output_name": (None, [None, "sentence_embedding"]),
}
"""The settings of a dense layer: the value of one that is missing, and those that are supported."""
_NAME = re.compile(r"(\d+_Dense)\..+")


@dataclass
class Modules:
    """What comes after the model: hyperparameters, and tensors by folder (`2_Dense.linear.weight`)."""

    values: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, TensorInfo] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)


def dense_layers(names: HuggingFaceNames) -> dict[str, str]:
    """Returns the dense layers of a family, in order: GGUF's name of each by its folder."""
    found = ((_NAME.fullmatch(theirs), ours) for theirs, ours in names.tensors.items())
    return {match[1]: ours.partition(".")[0] for match, ours in found if match}


def check_weights(
    stored: Mapping[str, TensorInfo], modules: Modules, names: HuggingFaceNames, folder: Path
) -> None:
    """Raises `FormatError` if weights have a name of a dense layer's, which are in a file of their own."""
    for name in stored:
        if name in modules.tensors or (name in names.tensors and _NAME.fullmatch(name)):
            raise FormatError(
                f"{folder}: the weights hold tensor {quote(name)}, a name for what {MODULES} lists, which "
                "has a file of its own"
            )


def read_modules(folder: Path, names: HuggingFaceNames, width: object) -> Modules:
    """Returns the modules of a folder; none if it has no modules.json.

    `width` is that of the model's states. Of a dense layer that becomes `dense_2.weight`, the sizes are
    `dense_2_feat_in` and `dense_2_feat_out`, as llama.cpp's converter writes them. Normalising to length 1 is
    left to the caller of `embed`. Raises `FormatError` for files that are not valid, `UnsupportedError` for
    modules, an order of them and settings that are not supported.
    """
    found = Modules()
    path = folder / MODULES
    if not path.exists():
        return found
    modules = _list(path)
    _check_order(path, modules)
    _check_paths(path, modules, names)
    for module in modules:
        kind, place = _TYPES[module["type"]], folder / module["path"]
        if kind == "Pooling":
            found.values["pooling_type"] = _pooling(place / "config.json", width)
        elif kind == "Dense":
            _dense(place, names, found)
    return found


def _list(path: Path) -> list[dict[str, Any]]:
    modules: Any = parse_json(read_text(path, limits.MODULES_BYTES), str(path))
    if not isinstance(modules, list):
        raise FormatError(f"{path}: is not an array of modules")
    for number, module in enumerate(modules):
        valid = isinstance(module, dict) and all(isinstance(module.get(key), str) for key in ("type", "path"))
        # A module's path is a name in the same folder, never one that leads out of it.
        if not valid or {"/", "\\", "\0"} & set(module["path"]) or module["path"] in (".", ".."):
            raise FormatError(
                f"{path}: module {number}: {quote(module)} is not a type and the name of a folder"
            )
        if len(module["path"]) > 255:  # no file system has longer names
            raise FormatError(f"{path}: module {number}: the path {quote(module['path'])} is too long")
    return modules


def _check_order(path: Path, modules: Sequence[Mapping[str, Any]]) -> None:
    """Raises `UnsupportedError` unless the kinds are those that a graph computes, in its order."""
    kinds: list[str] = []
    for number, module in enumerate(modules):
        kind = _TYPES.get(module["type"])
        if kind is None:
            raise UnsupportedError(
                f"{path}: module {number}: the type {quote(module['type'])} is not supported; supported are "
                f"Transformer, Pooling, Dense and Normalize of {_PACKAGE}"
            )
        kinds.append(kind)
    usual = ["Transformer", "Pooling", *["Dense"] * kinds.count("Dense")]
    usual += ["Normalize"] if kinds[-1:] == ["Normalize"] else []
    for number, (kind, expected) in enumerate(zip_longest(kinds, usual)):
        if kind != expected:
            raise UnsupportedError(
                f"{path}: module {number} is {'missing' if kind is None else f'a {kind}'}, which is not "
                "supported: a Transformer, a Pooling, any number of Dense and one Normalize or none, in this "
                "order, are"
            )


def _check_paths(path: Path, modules: Sequence[Mapping[str, Any]], names: HuggingFaceNames) -> None:
    """Raises `UnsupportedError` unless each module has its place, and dense layers their order."""
    layers = list(dense_layers(names))
    seen = set[str]()
    last = -1
    for number, module in enumerate(modules):
        place, kind = module["path"], _TYPES[module["type"]]
        where = f"{path}: module {number}: a {kind} in {quote(place)} is not supported"
        if (place == "") != (number == 0):
            raise UnsupportedError(f"{where}: the model alone is in the folder itself, with the path ''")
        if place in seen:
            raise UnsupportedError(f"{where}: another module is in it, too")
        seen.add(place)
        if kind == "Dense":
            if place not in layers or layers.index(place) <= last:
                has = f"has them in {', '.join(layers)}, in this order" if layers else "has none"
                raise UnsupportedError(f"{where}: of dense layers, {names.architecture} {has}")
            last = layers.index(place)


def _pooling(path: Path, width: object) -> int:
    config = read_json(path)
    for key, value in config.items():
        if key.startswith("pooling_mode_") and not isinstance(value, bool):
            raise FormatError(f"{path}: {quote(key)} is {quote(value)}, but must be true or false")
    mode = config.get("pooling_mode")
    if mode is None:
        modes = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
        mode = _MODES.get(modes[0]) if len(modes) == 1 else None
        given: Any = modes
    else:
        given = mode
    if not isinstance(mode, str) or mode not in _POOLING:
        raise UnsupportedError(
            f"{path}: the pooling {quote(given)} is not supported; {', '.join(_POOLING)} are, one at a time"
        )
    if config.get("include_prompt", True) is not True:
        raise UnsupportedError(f"{path}: include_prompt is {quote(config['include_prompt'])}, not supported")
    for key in ("word_embedding_dimension", "embedding_dimension"):
        if config.get(key, width) != width:
            raise FormatError(
                f"{path}: {key} is {quote(config[key])}, but the model's states are {quote(width)} wide"
            )
    return _POOLING[mode]


def _dense(path: Path, names: HuggingFaceNames, found: Modules) -> None:
    """Adds the tensors of a dense layer, their file and the sizes."""
    settings = path / "config.json"
    config = read_json(settings)
    for key, (default, supported) in _DENSE.items():
        value = config.get(key, default)
        if value not in supported:
            raise UnsupportedError(
                f"{settings}: {key} is {quote(value)}, which is not supported; {quote(supported[-1])} is"
            )
    file = path / "model.safetensors"
    if not file.exists():
        raise FormatError(f"{path}: holds no model.safetensors, the weights of a dense layer")
    found.files.append(file)
    tensors = read_shard(file)
    weight = tensors.get("linear.weight")
    if weight is None or len(weight.shape) != 2:
        what = "no tensor linear.weight" if weight is None else f"linear.weight of shape {weight.shape}"
        raise FormatError(f"{file}: holds {what}, but a dense layer's is a matrix of that name")
    bias = "linear.bias" in tensors
    stated = {"in_features": weight.shape[1], "out_features": weight.shape[0], "bias": bias}
    for key, value in stated.items():
        given = config.get(key, True if key == "bias" else value)
        if type(given) is not type(value) or given != value:
            raise FormatError(f"{settings}: {key} is {quote(given)}, but {quote(value)} by model.safetensors")
    for name, tensor in tensors.items():
        new = f"{path.name}.{name}"
        found.tensors[new] = tensor.changed(name=new)
    ours = dense_layers(names)[path.name]
    found.values |= {f"{ours}_feat_out": weight.shape[0], f"{ours}_feat_in": weight.shape[1]}
