"""GGUF as one of ZigAI's formats."""

from __future__ import annotations

from pathlib import Path

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_gguf.describe import describe
from zigai_gguf.reader import MAGIC, GGUFFile


class GGUFFormat:
    """Reads GGUF files: the `FormatReader` registered as `gguf`.

    >>> GGUFFormat().recognises(b"GGUF....", Path("model.gguf"))
    True
    """

    def recognises(self, head: bytes, path: Path) -> bool:
        """Whether a file that starts with `head` is GGUF, whatever its name."""
        return head.startswith(MAGIC)

    def read(self, path: Path) -> ModelDescriptor:
        """The descriptor of the model in `path`; its tensors are views of the mapped file.

        `FormatError` with byte and field, or key, for what is not sound; `UnsupportedError` for what is sound
        but not read (big-endian files, version 1, split models, tensor types nobody knows).
        """
        return describe(GGUFFile.open(path))
