"""Completes the storage types of a descriptor with dequantisers from installed packages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from zigai_core.api.registry import Registry
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.dtypes import DTYPES, DType
from zigai_core.contracts.errors import PluginError


def complete(descriptor: ModelDescriptor, dtypes: Registry[Callable[[], DType]]) -> ModelDescriptor:
    """Replace each storage type without a dequantiser by the type of that name in `dtypes`, if there is one.

    Raises `PluginError` if `dtypes` has a name that core's own types have, or a type whose blocks differ from
    those of the format.
    """
    taken = sorted(set(dtypes) & set(DTYPES))
    if taken:
        raise PluginError(f"the storage type {taken[0]} is core's own: a package cannot provide it")
    wanted = {t.dtype.name: t.dtype for t in descriptor.tensors.values() if t.dtype.dequantize is None}
    found = {name: _checked(layout, dtypes.get(name)()) for name, layout in wanted.items() if name in dtypes}
    if not found:
        return descriptor
    tensors = {
        name: replace(tensor, dtype=found.get(tensor.dtype.name, tensor.dtype))
        for name, tensor in descriptor.tensors.items()
    }
    return replace(descriptor, tensors=tensors)


def _checked(layout: DType, dtype: object) -> DType:
    if not isinstance(dtype, DType) or dtype.dequantize is None:
        raise PluginError(f"the storage type {layout.name} of a package must be a DType with a dequantiser")
    given, wanted = ((it.name, it.block_size, it.block_bytes) for it in (dtype, layout))
    if given != wanted:
        raise PluginError(
            f"the storage type {layout.name} of a package has blocks of (name, elements, bytes) {given}; "
            f"those of the format are {wanted}"
        )
    return dtype
