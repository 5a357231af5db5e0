"""The parts of quantised weights, found by the ends of their names."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import FormatError, quote
from zigai_safetensors import limits

VERSION = 1
"""Of what is computed: to be raised when a layout gives other bytes, so that packed weights are not used."""

SCALES = ("F16", "BF16", "F32")
"""Types that scales may have."""


def check_row(width: int, where: str) -> None:
    """Raises `FormatError` for a row that is longer than any known: rows are computed whole."""
    if width > limits.ROW:
        raise FormatError(f"{where}: rows have {width} elements; at most {limits.ROW} are read")


class Parts:
    """The parts of one module's weight. `where` names the folder and the module in error texts."""

    def __init__(self, module: str, found: Mapping[str, TensorInfo], where: str) -> None:
        self.module = module
        self.found = found
        self.where = where

    def get(self, part: str, *kinds: str) -> TensorInfo:
        """The part of that name. Raises `FormatError` if it is missing or of a type not in `kinds`."""
        tensor = self.found.get(part)
        if tensor is None:
            raise FormatError(
                f"{self.where} has {', '.join(sorted(self.found))}, but no {part}: the weight is not complete"
            )
        if tensor.dtype.name not in kinds:
            raise FormatError(
                f"{self.where}: {part} is {tensor.dtype.name}, but must be {' or '.join(kinds)}"
            )
        return tensor

    def shaped(self, part: str, shape: tuple[int, ...], *kinds: str) -> TensorInfo:
        """The part, which must also have that shape."""
        tensor = self.get(part, *kinds)
        if tensor.shape != shape:
            raise FormatError(f"{self.where}: {part} has shape {tensor.shape}, but {shape} is needed")
        return tensor

    def matrix(self, part: str, *kinds: str) -> TensorInfo:
        """The part, which must also have two dimensions."""
        tensor = self.get(part, *kinds)
        if len(tensor.shape) != 2:
            raise FormatError(f"{self.where}: {part} has shape {tensor.shape}, but must have two dimensions")
        return tensor


def collect(
    stored: Mapping[str, TensorInfo], names: Collection[str], folder: object
) -> tuple[list[Parts], dict[str, TensorInfo]]:
    """Returns the parts with these names by module, and all other tensors.

    `model.layers.0.mlp.up_proj.qweight` is the part `qweight` of the module `model.layers.0.mlp.up_proj`.
    """
    found: dict[str, dict[str, TensorInfo]] = {}
    rest: dict[str, TensorInfo] = {}
    for name, tensor in stored.items():
        module, dot, part = name.rpartition(".")
        if dot and part in names:
            found.setdefault(module, {})[part] = tensor
        else:
            rest[name] = tensor
    modules = [
        Parts(module, of_module, f"{folder}: the module {quote(module)}")
        for module, of_module in found.items()
    ]
    return modules, rest


def add_unique(tensors: dict[str, TensorInfo], tensor: TensorInfo, folder: object) -> None:
    """Adds a weight that was made of parts. Raises `FormatError` if there is a tensor of its name."""
    if tensor.name in tensors:
        raise FormatError(f"{folder}: holds {quote(tensor.name)} both whole and in quantised parts")
    tensors[tensor.name] = tensor
