"""The `FormatReader` of folders of Hugging Face."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import (
    Conventions,
    Hyperparameters,
    ModelDescriptor,
    TensorInfo,
)
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_safetensors.config import hyperparameters, one_object
from zigai_safetensors.files import read_json, read_text
from zigai_safetensors.folder import CONFIG, check_config, is_model, is_weights
from zigai_safetensors.generation import end_ids, sampling
from zigai_safetensors.modules import MODULES, check_weights, dense_layers, read_modules
from zigai_safetensors.quantised import layout_name, whole_weights
from zigai_safetensors.tensor_names import renamed
from zigai_safetensors.texts import check_texts
from zigai_safetensors.tokenizer import read_tokenizer
from zigai_safetensors.weights import read_weights

_LOG = logging.getLogger("zigai.safetensors")
_CACHED = re.compile(r"models--(?:.*--)?(.+)")


class SafetensorsFormat:
    """Reads folders that transformers saves; registered as the format `safetensors`.

    A path is the folder, or a safetensors file in it; one of several files stands for all. Tensors are views
    of the mapped files, or computed from them if they are quantised (`zigai_safetensors.quantised`); their
    names and those of hyperparameters are translated by the family's package (`zigai.huggingface`).
    """

    def recognises(self, path: Path) -> bool:
        """True for a folder with the files of a model, and for a safetensors file in one.

        Also for a folder that lacks some, for which `read` says what to download. Of files, the names and
        the first bytes are looked at.
        """
        try:
            return is_weights(path) if path.is_file() else is_model(path)
        except (OSError, ValueError):  # ValueError: a NUL in the path
            return False

    def read(self, path: Path) -> ModelDescriptor:
        """Returns the descriptor of the model.

        A file that an index names opens all files of the index. Raises `FormatError`, with file and field,
        for what is missing or not valid; `UnsupportedError` for a family that
        no installed package names, and for settings and types that are not supported.
        """
        folder = path.parent if path.is_file() else path
        check_config(folder)
        stated = read_json(folder / CONFIG)
        kind = _family(stated, folder / CONFIG)
        config, names = one_object(stated, _names(kind, folder / CONFIG), folder / CONFIG)
        values, divisors = hyperparameters(config, names, folder / CONFIG)
        stored, files = read_weights(path)
        modules = read_modules(folder, names, values.get("embedding_length"))
        check_weights(stored, modules, names, folder)
        if (folder / MODULES).exists():
            check_texts(folder, values.get("context_length"))
        elif dense_layers(names):
            _LOG.warning(
                "%s: has no %s, so an embedding is the state of the last token, without pooling: download "
                "it, and the folders that it names, from where the weights are from",
                *(folder, MODULES),
            )
        files = (*files, *modules.files)
        weights = {**whole_weights(stored, config, folder / CONFIG), **modules.tensors}
        tensors = renamed(weights, names, values, config, folder)
        values |= modules.values
        _check_types(tensors, folder)
        _check_vocabulary(tensors, values, folder)
        tensors |= {name: _computed(name, array) for name, array in divisors.items()}
        generation = _optional(folder / "generation_config.json")
        size, layout = values.get("vocab_size"), layout_name(config)
        return ModelDescriptor(
            name=_name(folder),
            architecture=names.architecture,
            hyperparameters=Hyperparameters(values, prefix=names.architecture, source=str(folder / CONFIG)),
            tensors=tensors,
            tokenizer=read_tokenizer(
                folder, end_ids(generation, config, folder), size if isinstance(size, int) else 0
            ),
            chat_template=_template(folder),
            metadata=stated,
            sampling=sampling(generation, folder / "generation_config.json"),
            conventions=Conventions(rope_pairing=names.rope_pairing),
            format="safetensors"
            + (f" in {len(files)} files" if len(files) > 1 else "")
            + (f", quantised as {layout}" if layout is not None else ""),
            path=folder if len(files) > 1 else path,
            files=files,
        )


def _family(config: Mapping[str, Any], path: Path) -> str:
    if "model_type" not in config:
        raise FormatError(
            f"{path}: has no model_type, which names the model's family: take config.json from where the "
            "weights are from"
        )
    kind = config["model_type"]
    if not isinstance(kind, str) or not kind:
        raise FormatError(f"{path}: model_type is {quote(kind)}, but must be the name of the model's family")
    return kind


def _names(kind: str, config: Path) -> HuggingFaceNames:
    try:
        return Plugins.installed().huggingface.get(kind)
    except UnsupportedError as error:
        raise UnsupportedError(f"{config}: {error}") from None


def _check_types(tensors: Mapping[str, TensorInfo], folder: Path) -> None:
    for tensor in tensors.values():
        if tensor.dtype.dequantize is None:
            raise UnsupportedError(
                f"{folder}: {quote(tensor.name)} has elements of type {tensor.dtype.name}, which are "
                "supported only as parts of quantised weights, in a layout that quantization_config in "
                f"{CONFIG} names"
            )


def _check_vocabulary(tensors: Mapping[str, TensorInfo], values: Mapping[str, Any], folder: Path) -> None:
    """Raises `FormatError` if vocab_size is not the number of tokens of embedding and output."""
    size = values.get("vocab_size")
    for name in ("token_embd.weight", "output.weight"):
        rows = tensors[name].shape[0] if name in tensors else size
        if size is not None and rows != size:
            raise FormatError(
                f"{folder / CONFIG}: vocab_size is {quote(size)}, but {quote(name)} has {rows} rows, one for "
                "each token: the configuration is of other weights; take both from the same place"
            )


def _computed(name: str, values: NDArray[np.float32]) -> TensorInfo:
    data = np.ascontiguousarray(values, "<f4").view(np.uint8).reshape(-1)
    return TensorInfo(name, values.shape, DTYPES["F32"], data)


def _template(folder: Path) -> str | None:
    """The chat template: chat_template.jinja, or that in tokenizer_config.json, of several the default."""
    path = folder / "chat_template.jinja"
    if path.exists():
        return read_text(path)
    given = _optional(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(given, list):
        named = {each.get("name"): each.get("template") for each in given if isinstance(each, dict)}
        given = named.get("default")
    return given if isinstance(given, str) else None


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def _name(folder: Path) -> str:
    """The folder's name; in the hub's cache, whose folders are named by revisions, that of the repository."""
    for part in reversed(folder.absolute().parts):
        found = _CACHED.fullmatch(part)
        if found:
            return found[1]
    return folder.absolute().name
