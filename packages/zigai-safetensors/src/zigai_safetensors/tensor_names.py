"""Tensors of a folder under GGUF's names, by those of their family."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.api.installed import report
from zigai_core.contracts.descriptor import ComputedTensor, JoinedTensor, TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import FormatError, quote
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_safetensors.config import check_layers
from zigai_safetensors.folder import CONFIG
from zigai_safetensors.tensor_parts import for_type, part_of, with_sizes

_EXPERT = re.compile(r"(.*\.)(0|[1-9]\d{0,4})(\..*)")
"""A name with the number of an expert, or of another part of a stack, which is the last number in it."""
_ALWAYS = frozenset({"blk", "token_embd", "output", "output_norm", "rope_freqs"})
"""Beginnings of GGUF's names that no family's folder has; those of its own tensors are others."""


def renamed(
    stored: Mapping[str, TensorInfo],
    names: HuggingFaceNames,
    values: Mapping[str, Any],
    config: Mapping[str, Any],
    folder: Path,
) -> dict[str, TensorInfo]:
    """Returns the tensors under GGUF's names. One that the family does not name keeps its own, and loading
    refuses it; those without effect are left out.

    Raises `FormatError` for a name of GGUF, for two tensors of one name, and for an expert or a head that is
    missing. A warning for each reason names the parts that are not supported.
    """
    layers: Any = values.get("block_count")
    check_layers(layers, folder / CONFIG)
    numbers = range(layers) if len(stored) >= layers else range(1)
    known = {
        theirs.format(layer): ours.format(layer)
        for theirs, ours in names.tensors.items()
        for layer in _layers_of(theirs, numbers)
    }
    taken = {
        theirs.format(layer): [(part, part.name.format(layer)) for part in made]
        for theirs, made in names.parts.items()
        for layer in _layers_of(theirs, numbers)
    }
    named = [*names.tensors.values(), *(part.name for made in names.parts.values() for part in made)]
    of_gguf = {ours.partition(".")[0] for ours in named} | _ALWAYS
    unsupported: dict[str, dict[str, None]] = {}
    tensors: dict[str, TensorInfo] = {}
    experts: dict[str, dict[int, TensorInfo]] = {}
    for name, tensor in stored.items():
        if any(fnmatchcase(name, pattern) for pattern in names.tensors_without_effect):
            continue
        found = _EXPERT.fullmatch(name)
        stack = known.get(f"{found[1]}[]{found[3]}") if found else None
        if found and stack is not None:
            experts.setdefault(stack, {})[int(found[2])] = tensor
            continue
        has_name = name in known or name in taken
        part = next((each for each in names.unsupported_tensors if fnmatchcase(name, each)), None)
        if part is not None and not has_name:
            unsupported.setdefault(names.unsupported_tensors[part], {})[part] = None
            continue
        if not has_name and "." in name and name.partition(".")[0] in of_gguf:
            raise FormatError(f"{folder}: holds tensor {quote(name)}, a name of GGUF, not of Hugging Face")
        made = for_type(taken.get(name, ()), tensor.dtype.name)
        found_parts = [part_of(tensor, with_sizes(part, config, folder), new, folder) for part, new in made]
        for new in found_parts or [tensor.changed(name=known.get(name, name))]:
            if new.name in tensors:
                raise FormatError(
                    f"{folder}: holds {quote(new.name)} under two names, one of which is {quote(name)}"
                )
            tensors[new.name] = _plus(new, names.added)
    for reason, patterns in unsupported.items():
        report(f"{names.architecture} leaves out {', '.join(patterns)}: {reason}")
    for name, parts in experts.items():
        missing = next((number for number in range(len(parts)) if number not in parts), None)
        if missing is not None:
            raise FormatError(f"{folder}: of the experts of {quote(name)}, number {missing} is missing")
        tensors[name] = JoinedTensor(name, [parts[number] for number in range(len(parts))])
    _tie(tensors, config, folder)
    return tensors


def _layers_of(theirs: str, numbers: range) -> range:
    """The numbers of the layers that have a tensor of this name; the first alone if it is of no layer."""
    return numbers if "{}" in theirs else range(1)


def _tie(tensors: dict[str, TensorInfo], config: Mapping[str, Any], folder: Path) -> None:
    """Removes the head of a model whose head is its embedding."""
    tied = config.get("tie_word_embeddings", "output.weight" not in tensors)
    if tied is not None and not isinstance(tied, bool):
        raise FormatError(
            f"{folder / CONFIG}: tie_word_embeddings is {quote(tied)}, but must be true or false"
        )
    if tied:
        tensors.pop("output.weight", None)  # transformers uses the embedding, whatever is stored
    elif "output.weight" not in tensors and "token_embd.weight" in tensors:
        raise FormatError(f"{folder}: has no lm_head.weight, though tie_word_embeddings is false")


def _plus(tensor: TensorInfo, added: Mapping[str, float]) -> TensorInfo:
    """The tensor; if a pattern of `added` is its name's, the sum of its elements and the number there."""
    number = next((number for name, number in added.items() if fnmatchcase(tensor.name, name)), None)
    if number is None or tensor.dtype.dequantize is None:
        return tensor
    width = tensor.shape[-1]

    def rows(start: int, stop: int) -> NDArray[np.uint8]:
        given = tensor.dtype.to_float32(tensor.copy_rows(start, stop), (stop - start, width))
        return (given + np.float32(number)).astype("<f4").view(np.uint8).reshape(-1)

    return ComputedTensor(tensor.name, tensor.shape, DTYPES["F32"], [tensor], rows, f"plus {number}")
