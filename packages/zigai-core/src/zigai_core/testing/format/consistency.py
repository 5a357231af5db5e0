"""Whether the parts of a descriptor agree."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import ModelDescriptor, TokenizerSpec
from zigai_core.contracts.tensors import ComputedTensor


def check_consistent(model: ModelDescriptor, what: str) -> None:
    """Asserts that the parts of a descriptor agree; reads every byte of tensors that are not computed."""
    for name, tensor in model.tensors.items():
        where = f"{what}: tensor {name!r}"
        assert tensor.name == name, f"{where} has the name {tensor.name!r}"
        assert isinstance(tensor.shape, tuple), f"{where} has shape {tensor.shape!r}, which is no tuple"
        sizes = [type(size) is int and size >= 1 for size in tensor.shape]
        assert all(sizes), f"{where} has shape {tensor.shape!r}, not whole numbers of at least 1"
        expected = tensor.dtype.nbytes(tensor.shape)
        assert tensor.nbytes == expected, f"{where} has {tensor.nbytes} bytes, its shape takes {expected}"
        if isinstance(tensor, ComputedTensor):
            continue
        data = tensor.data
        sound = data.dtype == np.dtype(np.uint8) and data.ndim == 1
        assert sound, f"{where}: data is {data.dtype} of shape {data.shape}"
        assert data.strides == (1,), f"{where}: data has strides {data.strides}"
        assert not data.flags.writeable, f"{where}: data can be written to"
        data.sum()  # ends the process if the bytes are not in the file
    if model.tokenizer is not None:
        _check_vocabulary(model.tokenizer, what)


def _check_vocabulary(spec: TokenizerSpec, what: str) -> None:
    count = len(spec.tokens)
    assert all(isinstance(token, str) for token in spec.tokens), f"{what}: a token is not text"
    for field in ("scores", "types"):
        values = getattr(spec, field)
        assert values is None or values.shape == (count,), f"{what}: {field} are not {count} numbers"
    ids = {*spec.special_ids.values(), *spec.end_ids}
    assert all(0 <= each < count for each in ids), f"{what}: special ids {ids} of {count} tokens"


def is_mapped(array: NDArray[np.uint8]) -> bool:
    """True if an array is a view of a mapped file."""
    base: Any = array
    while base is not None:
        if isinstance(base, mmap.mmap):
            return True
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return False
