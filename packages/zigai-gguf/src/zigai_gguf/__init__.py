"""The GGUF file format for ZigAI: a reader that maps the file and trusts nothing in it."""

from __future__ import annotations

from zigai_gguf.format import GGUFFormat
from zigai_gguf.metadata import Metadata
from zigai_gguf.reader import GGUFFile
from zigai_gguf.string_array import StringArray
from zigai_gguf.values import NestedArray, Typed, ValueType

__all__ = [
    "GGUFFile",
    "GGUFFormat",
    "Metadata",
    "NestedArray",
    "StringArray",
    "Typed",
    "ValueType",
]
