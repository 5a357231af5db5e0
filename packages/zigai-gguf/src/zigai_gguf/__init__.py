"""The GGUF file format for ZigAI: a reader that maps files and checks every field, and a writer."""

from __future__ import annotations

from zigai_gguf.format import GGUFFormat
from zigai_gguf.metadata import Metadata
from zigai_gguf.reader import GGUFFile
from zigai_gguf.string_array import StringArray
from zigai_gguf.tensor_data import TensorData
from zigai_gguf.values import NestedArray, Typed, ValueType
from zigai_gguf.writer import write_gguf

__all__ = [
    "GGUFFile",
    "GGUFFormat",
    "Metadata",
    "NestedArray",
    "StringArray",
    "TensorData",
    "Typed",
    "ValueType",
    "write_gguf",
]
