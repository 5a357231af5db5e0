"""Writes a model of any format as a GGUF file that llama.cpp opens.

Sources: gguf's constants for keys; llama.cpp's convert_hf_to_gguf for what its loader expects: F32 for
tensors of one dimension, adjacent pairs of rows for RoPE in the architectures of `rope_pairing.ADJACENT`, and
a token for each row of the embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import ModelDescriptor, TokenizerSpec, TokenType
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_core.contracts.hyperparameter_keys import UNKNOWN
from zigai_gguf.conversion import Conversion
from zigai_gguf.pairs import separator_keys
from zigai_gguf.sampling import PREFIX
from zigai_gguf.scored import by_scores
from zigai_gguf.tensor_data import TensorData
from zigai_gguf.values import Typed, ValueType
from zigai_gguf.wordpiece import bert_keys, with_phantom_spaces
from zigai_gguf.writer import write_gguf

TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K")
"""Types that matrices can be converted to."""

_FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 7, "Q4_K": 14, "BF16": 32}
"""`general.file_type` by type (`llama_ftype`)."""
_SAMPLING = {
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "temperature": "temp",
    "repeat_penalty": "penalty_repeat",
}
_ROLES = {"bos": "bos", "eos": "eos", "unknown": "unknown", "padding": "padding"}

Progress = Callable[[int, int], None]
"""Called with (bytes of tensors written, in all)."""


def convert(
    model: ModelDescriptor,
    out: Path | str,
    *,
    dtype: str | None = None,
    pre_tokenizer: str | None = None,
    progress: Progress | None = None,
    plugins: Plugins | None = None,
    overwrite: bool = True,
) -> None:
    """Writes a model as a GGUF file, atomically.

    `dtype` is one of `TYPES`, for matrices; None keeps the type of each. If it is quantised, some matrices
    get another type (`zigai_core.api.target_type`): with Q4_0 and Q4_K, `output.weight` and
    `token_embd.weight` become Q8_0, since 4 bits there cost the most accuracy. Vectors become F32.
    `pre_tokenizer` is GGUF's name of the pre-tokenizer, if the model gives expressions instead; by default
    the tokenizer's plugin is asked for it. The fastest
    backend of `plugins` encodes, by default of those installed. `overwrite`: whether a file may be replaced.

    Raises `UnsupportedError` for what GGUF cannot say, `FormatError` for a number that the type of its tensor
    cannot store, or if the file cannot be written.
    """
    out, dtype = Path(out), None if dtype is None else dtype.upper()
    plugins = plugins or Plugins.installed()
    if dtype is not None and dtype not in TYPES:
        raise UnsupportedError(
            f"conversion to {quote(dtype)} is not supported; supported are {', '.join(TYPES)}"
        )
    spec = model.tokenizer
    asked = pre_tokenizer is None and spec is not None and spec.splits is not None
    if asked and spec is not None and spec.kind in plugins.tokenizers:
        pre_tokenizer = getattr(plugins.tokenizers.get(spec.kind)(spec), "pre_tokenizer", None)
    metadata = _metadata(model, dtype, pre_tokenizer)
    with Conversion(model, dtype, plugins) as conversion:
        written = {name: conversion.of(tensor) for name, tensor in model.tensors.items()}
        total = sum(data.dtype.nbytes(data.shape) for data in written.values())
        counted = _Counter(total, progress)
        try:
            tensors = {name: counted.of(data) for name, data in written.items()}
            write_gguf(out, metadata, tensors, overwrite=overwrite)
        except FormatError:
            for tensor in model.tensors.values():
                tensor.check_file()  # a source that was cut short is the cause of any error
            raise


def _metadata(model: ModelDescriptor, dtype: str | None, pre_tokenizer: str | None) -> dict[str, Any]:
    architecture = model.architecture
    metadata: dict[str, Any] = {"general.architecture": architecture, "general.name": model.name}
    if dtype is not None:
        metadata["general.file_type"] = _FILE_TYPES[dtype]
    values = dict(model.hyperparameters.items())
    unknown = [key for key in values if key.startswith(UNKNOWN)]
    if unknown:
        raise UnsupportedError(
            f"{model.path}: the setting {quote(unknown[0].removeprefix(UNKNOWN))} is not understood, so a "
            "GGUF file of this model would be wrong"
        )
    width = values.get("attention.key_length")
    if width is not None:  # llama.cpp's defaults are of the embedding's width
        values = {"attention.value_length": width, "rope.dimension_count": width, **values}
    for key, value in values.items():
        plain = isinstance(value, float) and not isinstance(value, bool)
        metadata[f"{architecture}.{key}"] = Typed(ValueType.FLOAT32, value) if plain else value
    for name, value in model.sampling.items():
        if name in _SAMPLING:
            metadata[PREFIX + _SAMPLING[name]] = value
    if model.tokenizer is not None:
        embedding = model.tensors.get("token_embd.weight")
        size = len(model.tokenizer.tokens) if embedding is None else embedding.shape[0]
        metadata |= _vocabulary(by_scores(model.tokenizer, model.path), size, pre_tokenizer, model)
    else:
        metadata["tokenizer.ggml.model"] = "no_vocab"  # llama.cpp opens no file without the key
    types = model.tensors.get("token_types.weight")
    if types is not None:  # without it, llama.cpp opens no model that has types
        metadata["tokenizer.ggml.token_type_count"] = types.shape[0] if len(types.shape) == 2 else 1
    if model.chat_template is not None:
        metadata["tokenizer.chat_template"] = model.chat_template
    return metadata


def _vocabulary(
    spec: TokenizerSpec, size: int, pre_tokenizer: str | None, model: ModelDescriptor
) -> dict[str, Any]:
    """The keys of a vocabulary of `size` tokens; rows of the embedding without a token get an unused one."""
    name = spec.pre_tokenizer or pre_tokenizer
    if spec.splits is not None and name is None:
        raise UnsupportedError(
            f"{model.path}: the tokenizer splits texts by {quote(list(spec.splits))}, for which GGUF has no "
            "name"
        )
    count = len(spec.tokens)
    texts = spec.tokens if spec.kind != "bert" else with_phantom_spaces(spec, model.path)
    tokens = [*texts, *(f"[PAD{number}]" for number in range(count, size))]
    added = len(tokens) - count
    types = np.ones(count, np.int32) if spec.types is None else spec.types
    keys: dict[str, Any] = {
        "model": spec.kind,
        "tokens": Typed(ValueType.STRING, tokens),
        "token_type": np.concatenate([types, np.full(added, TokenType.UNUSED)]).astype(np.int32),
        "add_bos_token": spec.add_bos,
        "add_eos_token": spec.add_eos,
    }
    if spec.kind in ("llama", "t5"):
        keys["add_space_prefix"] = spec.add_space_prefix
        keys["remove_extra_whitespaces"] = spec.remove_extra_whitespaces
    keys |= separator_keys(spec, model)
    if spec.kind == "bert":
        keys |= bert_keys(spec, model)
    if spec.precompiled_charsmap is not None:
        keys["precompiled_charsmap"] = np.frombuffer(spec.precompiled_charsmap, np.uint8)
    if name is not None:
        keys["pre"] = name
    if spec.scores is not None:
        keys["scores"] = np.concatenate([spec.scores, np.zeros(added)]).astype(np.float32)
    if spec.merges is not None:
        keys["merges"] = Typed(ValueType.STRING, list(spec.merges))
    for role, key in _ROLES.items():
        if role in spec.special_ids:
            keys[f"{key}_token_id"] = spec.special_ids[role]
    others = sorted(spec.end_ids - {spec.special_ids.get("eos", -1)})
    if others:
        keys["eot_token_id"] = others[0]
    return {f"tokenizer.ggml.{key}": value for key, value in keys.items()}


class _Counter:
    """Reports the bytes of tensors that were written."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._progress = progress
        self._done = 0

    def of(self, data: TensorData) -> TensorData:
        return TensorData(data.shape, data.dtype, lambda: self._chunks(data))

    def _chunks(self, data: TensorData) -> Iterator[NDArray[np.uint8]]:
        for chunk in data.chunks():
            yield chunk
            self._done += chunk.nbytes
            if self._progress is not None:
                self._progress(self._done, self._total)
