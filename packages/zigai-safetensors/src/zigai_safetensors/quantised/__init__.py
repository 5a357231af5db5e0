"""Quantised layouts of folders: the parts of a weight become one tensor of a type that backends run."""

from zigai_safetensors.quantised.method import layout_name, whole_weights

__all__ = ["layout_name", "whole_weights"]
