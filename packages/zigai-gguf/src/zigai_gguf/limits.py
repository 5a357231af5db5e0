"""How much of a file's word is taken: bounds that no known model comes near.

Every count is also checked against the bytes that are left in the file; these bounds keep time and memory
small where a large file really holds what it claims.
"""

from __future__ import annotations

HEADER_BYTES = 256 << 20
"""Bytes before the tensor data. The largest vocabularies in use, with their merges, take under 40 MiB."""

STRINGS = 1 << 21
"""Strings in all arrays together. The largest vocabularies have 0.8 million, merges included."""

ARRAYS = 1 << 16
"""Arrays within arrays, together. No known key holds any."""

KEYS = 1 << 16
"""Metadata keys."""

TENSORS = 1 << 17
"""Tensors."""

NAME_BYTES = (1 << 16) - 1
"""Bytes in a key or a tensor's name; GGUF's specification says so of keys."""

NESTING = 4
"""How deep arrays may lie within arrays."""

DIMENSIONS = 4
"""Dimensions of a tensor (`GGML_MAX_DIMS`)."""

ALIGNMENT_MINIMUM = 8
ALIGNMENT_MAXIMUM = 1 << 24
"""`general.alignment`: GGUF's specification asks for a multiple of 8, ggml for a power of two."""

BLOCKS = 1 << 16
"""Layers of a model."""


def is_alignment(value: int) -> bool:
    """Whether `value` may be a file's alignment: a power of two within the bounds."""
    return ALIGNMENT_MINIMUM <= value <= ALIGNMENT_MAXIMUM and value & (value - 1) == 0
