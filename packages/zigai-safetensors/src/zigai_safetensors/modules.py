"""modules.json: what sentence-transformers computes after a model, which is pooling and dense layers.

Source: the sentence-transformers library (models/Transformer, Pooling, Dense, Normalize), whose files these
are: each module has a folder with its settings in config.json and weights, if it has any.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_safetensors import limits
from zigai_safetensors.files import read_json, read_text
from zigai_safetensors.shard import read_shard

MODULES = "modules.json"
_POOLING = {"mean": 1, "cls": 2, "lasttoken": 3}
"""GGUF's `pooling_type` of each pooling that is read."""
_MODES = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "lasttoken",
}
_IDENTITY = "torch.nn.modules.linear.Identity"


@dataclass
class Modules:
    """What comes after the model: hyperparameters, and tensors by folder (`2_Dense.linear.weight`)."""

    values: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, TensorInfo] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)


def read_modules(folder: Path, names: Mapping[str, str]) -> Modules:
    """Returns the modules of a folder; none if it has no modules.json.

    `names` are GGUF's names of tensors. Of a dense layer that becomes `dense_2.weight`, the sizes are
    `dense_2_feat_in` and `dense_2_feat_out`, as llama.cpp's converter writes them. Normalising to length 1 is
    left to the caller of `embed`. Raises `FormatError` for files that are not valid, `UnsupportedError` for a
    module or a setting that is not known.
    """
    found = Modules()
    if not (folder / MODULES).exists():
        return found
    for module in _list(folder / MODULES):
        kind = str(module["type"]).rpartition(".")[2]
        path = folder / module["path"]
        if kind == "Pooling":
            found.values["pooling_type"] = _pooling(path / "config.json")
        elif kind == "Dense":
            _dense(path, names, found)
        elif kind not in ("Transformer", "Normalize"):
            raise UnsupportedError(
                f"{folder / MODULES}: a module {quote(module['type'])} is not supported; Transformer, "
                "Pooling, Dense and Normalize are"
            )
    return found


def _list(path: Path) -> list[dict[str, Any]]:
    try:
        modules = json.loads(read_text(path, limits.MODULES_BYTES))
    except (ValueError, RecursionError):
        raise FormatError(f"{path}: is not JSON") from None
    if not isinstance(modules, list):
        raise FormatError(f"{path}: is not an array of modules")
    for module in modules:
        valid = isinstance(module, dict) and all(isinstance(module.get(key), str) for key in ("type", "path"))
        # A module's path is a name in the same folder, never one that leads out of it.
        if not valid or {"/", "\\", "\0"} & set(module["path"]) or module["path"] in (".", ".."):
            raise FormatError(f"{path}: {quote(module)} is not a module with a type and the name of a folder")
    return modules


def _pooling(path: Path) -> int:
    config = read_json(path)
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
    return _POOLING[mode]


def _dense(path: Path, names: Mapping[str, str], found: Modules) -> None:
    """Adds the tensors of a dense layer, their file and the sizes."""
    config = read_json(path / "config.json")
    activation = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    if activation != _IDENTITY:
        raise UnsupportedError(
            f"{path / 'config.json'}: activation_function is {quote(activation)}, which is not supported; "
            f"{_IDENTITY} is"
        )
    file = path / "model.safetensors"
    if not file.exists():
        raise FormatError(f"{path}: holds no model.safetensors, the weights of a dense layer")
    found.files.append(file)
    for name, tensor in read_shard(file).items():
        new = f"{path.name}.{name}"
        found.tensors[new] = tensor.changed(name=new)
        ours = names.get(new, "").removesuffix(".weight")
        if ours and len(tensor.shape) == 2:
            found.values |= {f"{ours}_feat_out": tensor.shape[0], f"{ours}_feat_in": tensor.shape[1]}
