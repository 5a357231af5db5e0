"""Quantises the matrices of a model while it is loaded: the option `quantize` of `zigai.load`."""

from __future__ import annotations

import logging
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from zigai_core.api.encoding import Encoder, encoder
from zigai_core.api.registry import Plugins
from zigai_core.api.target_type import target_type, told
from zigai_core.contracts.descriptor import ComputedTensor, ModelDescriptor, TensorInfo
from zigai_core.contracts.plugins import ENCODED_FROM

LOG = logging.getLogger("zigai")

_FLOATS = ENCODED_FROM | {"F64"}
VERSION = 1
"""To be raised when an encoder gives other bytes, so that packed weights of before are not used."""
_ELEMENTS = 1 << 19
"""Elements that a thread encodes at a time: 2 MB of float32."""


def quantized(
    descriptor: ModelDescriptor, dtype: str, plugins: Plugins, threads: int | None = None
) -> ModelDescriptor:
    """Returns the model with its matrices in floats as tensors of `dtype`, encoded when they are read.

    `target_type` says which tensors become what; those that are stored in blocks stay.
    `threads` encode a tensor that is read whole, by default one per CPU.

    A warning tells if it changes nothing, and if rows that are no whole blocks get another type. A number
    that the type cannot store is a `FormatError` when its tensor is read.
    """
    encoders: dict[str, Encoder] = {}
    tensors = dict[str, TensorInfo]()
    became = Counter[str]()
    for name, tensor in descriptor.tensors.items():
        target = target_type(tensor, dtype)
        if tensor.dtype.name not in _FLOATS or target.block_size == 1:
            tensors[name] = tensor
            continue
        if target.name not in encoders:
            encoders[target.name] = encoder(target, plugins)
        tensors[name] = _encoded(tensor, encoders[target.name], threads or os.cpu_count() or 1)
        became[target.name] += 1
    if not became:
        LOG.warning(
            "quantize %s changes nothing: %s has no matrix to quantise: %s",
            dtype,
            descriptor.name,
            _reason(descriptor),
        )
        return descriptor
    changed = [tensor for name, tensor in descriptor.tensors.items() if tensors[name] is not tensor]
    sentence = told(changed, dtype)
    if sentence is not None:
        LOG.warning("%s: %s", descriptor.name, sentence)
    LOG.info(
        "%s: %s", descriptor.name, ", ".join(f"{count} matrices as {name}" for name, count in became.items())
    )
    return replace(descriptor, tensors=tensors)


def _reason(descriptor: ModelDescriptor) -> str:
    matrices = [tensor for tensor in descriptor.tensors.values() if len(tensor.shape) > 1]
    if not matrices:
        return "all its tensors have one dimension"
    if any(tensor.dtype.name in _FLOATS for tensor in matrices):
        widths = sorted({tensor.shape[-1] for tensor in matrices if tensor.dtype.name in _FLOATS})
        return f"rows of {', '.join(map(str, widths))} elements are not whole blocks of 32"
    stored = ", ".join(sorted({tensor.dtype.name for tensor in matrices}))
    return f"they are stored as {stored}"


def _encoded(tensor: TensorInfo, encode: Encoder, threads: int) -> ComputedTensor:
    width = tensor.shape[-1]
    step = max(1, _ELEMENTS // width)

    def rows(start: int, stop: int) -> NDArray[np.uint8]:
        return encode.rows(tensor, start, stop)

    def compute(start: int, stop: int) -> NDArray[np.uint8]:
        if stop - start <= step:
            return rows(start, stop)
        nbytes = encode.dtype.nbytes((width,))
        out = np.empty((stop - start) * nbytes, np.uint8)

        def fill(first: int) -> None:
            last = min(first + step, stop)
            out[(first - start) * nbytes : (last - start) * nbytes] = rows(first, last)

        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(fill, range(start, stop, step)):
                pass
        return out

    how = f"encoded as {encode.dtype.name}, version {VERSION}"
    return ComputedTensor(tensor.name, tensor.shape, encode.dtype, [tensor], compute, how)
