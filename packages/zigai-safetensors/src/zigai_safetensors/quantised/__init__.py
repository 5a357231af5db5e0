"""Quantised layouts of folders: the parts of a weight become one tensor of a type that backends run."""

from zigai_safetensors.quantised.method import whole_weights

__all__ = ["whole_weights"]
