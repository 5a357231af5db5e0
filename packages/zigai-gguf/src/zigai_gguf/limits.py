"""Limits on the contents of a file, far above those of every known model.

Every count is also checked against the bytes left in the file. These limits bound time and memory for a
large file that passes that check.
"""

from __future__ import annotations

HEADER_BYTES = 256 << 20
"""Bytes before the tensor data. The largest vocabularies in use, with their merges, take under 40 MiB."""

STRINGS = 1 << 21
"""Strings in all arrays of a file. The largest vocabularies have 0.8 million, merges included."""

ARRAYS = 1 << 16
"""Nested arrays in a file. No known key has any."""

KEYS = 1 << 16
"""Metadata keys in a file."""

TENSORS = 1 << 17
"""Tensors in a file."""

NAME_BYTES = (1 << 16) - 1
"""Bytes in a key or in the name of a tensor: the limit that GGUF's specification sets for keys."""

NESTING = 4
"""Levels of nested arrays."""

PARTS = 1000
"""Files of one model. Each is mapped, and systems allow a process 1,024 open files or more."""

DIMENSIONS = 4
"""Dimensions of a tensor (`GGML_MAX_DIMS`)."""

ALIGNMENT_MINIMUM = 8
ALIGNMENT_MAXIMUM = 1 << 24
"""Bounds of `general.alignment`: a multiple of 8 by GGUF's specification, a power of two in ggml."""

BLOCKS = 1 << 16
"""Layers of a model (`block_count`)."""


def is_alignment(value: int) -> bool:
    """True if `value` is a valid alignment: a power of two within the bounds."""
    return ALIGNMENT_MINIMUM <= value <= ALIGNMENT_MAXIMUM and value & (value - 1) == 0
