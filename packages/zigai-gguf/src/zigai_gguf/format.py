"""GGUF as one of ZigAI's formats."""

from __future__ import annotations

from pathlib import Path

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_gguf.describe import describe
from zigai_gguf.reader import MAGIC, GGUFFile


class GGUFFormat:
    """Reads GGUF files: the `FormatReader` registered as `gguf`.

    >>> GGUFFormat().recognises(Path("model.gguf"))     # doctest: +SKIP
    True
    """

    def recognises(self, path: Path) -> bool:
        """Whether `path` is a regular file that starts with GGUF's magic, whatever its name."""
        try:
            if not path.is_file():
                return False
            with path.open("rb") as file:
                return file.read(len(MAGIC)) == MAGIC
        except OSError:
            return False

    def read(self, path: Path) -> ModelDescriptor:
        """The descriptor of the model in `path`; its tensors are views of the mapped file.

        `FormatError` with byte and field, or key, for what is not sound; `UnsupportedError` for what is sound
        but not read (big-endian files, version 1, split models, tensor types nobody knows).
        """
        return describe(GGUFFile.open(path))
