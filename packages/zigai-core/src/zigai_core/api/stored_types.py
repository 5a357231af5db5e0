"""Completes the storage types of a descriptor with dequantisers from installed packages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from zigai_core.api.installed import report
from zigai_core.api.registry import Registry
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.dtypes import DTYPES, DType
from zigai_core.contracts.errors import PluginError


def complete(descriptor: ModelDescriptor, dtypes: Registry[Callable[[], DType]]) -> ModelDescriptor:
    """Replace each storage type without a dequantiser by the type of that name in `dtypes`, if there is one.

    An entry of `dtypes` with the name of one of core's own types is reported and not used. Raises
    `PluginError` for a type whose blocks differ from those of the format.
    """
    for entry in dtypes.entries():
        if entry.name in DTYPES:
            report(f"{entry.value} ({entry.distribution}) is not used: {own_type(entry.name)}")
    wanted = {t.dtype.name: t.dtype for t in descriptor.tensors.values() if t.dtype.dequantize is None}
    found = {name: _checked(layout, dtypes.get(name)()) for name, layout in wanted.items() if name in dtypes}
    if not found:
        return descriptor
    tensors = {
        name: tensor.changed(dtype=found.get(tensor.dtype.name, tensor.dtype))
        for name, tensor in descriptor.tensors.items()
    }
    return replace(descriptor, tensors=tensors)


def own_type(name: str) -> str:
    """The error text for a storage type of a package that has the name of one of core's own."""
    return f"the storage type {name} is core's own, which a package cannot replace"


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
