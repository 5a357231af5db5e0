"""The `FormatReader` of GGUF."""

from __future__ import annotations

from pathlib import Path

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_gguf.describe import describe
from zigai_gguf.parts import open_model
from zigai_gguf.reader import MAGIC


class GGUFFormat:
    """Reads GGUF files; registered as the format `gguf`.

    >>> GGUFFormat().read(Path("model.gguf")).architecture  # doctest: +SKIP
    'llama'
    """

    def recognises(self, path: Path) -> bool:
        """True if `path` is a readable regular file that begins with GGUF's magic, whatever its name."""
        try:
            if not path.is_file():
                return False
            with path.open("rb") as file:
                return file.read(len(MAGIC)) == MAGIC
        except OSError:
            return False

    def read(self, path: Path) -> ModelDescriptor:
        """Returns the descriptor of the model in `path`. Its tensors are views of the mapped file.

        A model in several files is opened by any one of them. Raises `FormatError` with byte and field, or
        with the key, if a file is invalid; `UnsupportedError` for big-endian files, other versions than 2 and
        3, and unknown tensor types.
        """
        return describe(open_model(path))
