"""Values of a graph in an `.npz` file: tokens, and an array `[tokens, width]` for each value, by its name."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_cli.failure import InputError
from zigai_core.contracts.errors import escape
from zigai_core.contracts.graph import Array

SUFFIX = ".npz"
TOKENS = "tokens"


class Oracle:
    """Stored values. `rows` returns some of them; no model is needed.

    The constructor reads the whole file and raises `InputError` if it is damaged or is not of this kind.
    Arrays that are not two-dimensional floats, such as a model's name, are not values.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path):
                pass  # np.load reads other files too, such as a single array
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        except (ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is not a readable .npz file of arrays: {error}") from error
        tokens = arrays.pop(TOKENS, None)
        if tokens is None or tokens.ndim != 1 or tokens.dtype.kind not in "iu" or not len(tokens):
            raise InputError(f"{path} is not an oracle: it has no list of token ids named {TOKENS}")
        self.tokens: list[int] = [int(token) for token in tokens]
        self._arrays: dict[str, NDArray[Any]] = {
            name: array for name, array in arrays.items() if array.ndim == 2 and array.dtype.kind == "f"
        }
        if not self._arrays:
            raise InputError(f"{path} is not an oracle: it has no value, a float array [tokens, width]")
        for name, array in self._arrays.items():
            if len(array) != len(self.tokens):
                raise InputError(
                    f"{path}: the value {escape(name)} has {len(array)} rows for {len(self.tokens)} tokens"
                )

    @property
    def widths(self) -> Mapping[str, int]:
        """The width of each value, by name."""
        return {name: array.shape[1] for name, array in self._arrays.items()}

    def rows(self, first: int, count: int) -> Mapping[str, Array]:
        """Some rows of every value, by name."""
        return {name: array[first : first + count].astype(np.float32) for name, array in self._arrays.items()}


def write(path: Path, tokens: Sequence[int], steps: Iterator[Mapping[str, Array]], about: str) -> int:
    """Write values to a file, and return their number. `about` names their origin.

    The file appears under its name when it is complete. Values are collected in memory.
    """
    parts: dict[str, list[Array]] = {}
    for step in steps:
        for name, rows in step.items():
            parts.setdefault(name, []).append(rows)
    values: dict[str, Any] = {name: np.concatenate(parts.pop(name)) for name in list(parts)}
    clash = {TOKENS, "about"} & values.keys()
    if clash:
        raise InputError(f"the graph has a value named {clash.pop()}, which an oracle file cannot hold")
    values |= {TOKENS: np.array(tokens, np.int32), "about": np.array(about)}
    count = len(values) - 2
    folder = path.absolute().parent
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{path.name}.", delete=False) as out:
        try:
            np.savez_compressed(out, **values)
            out.close()
            Path(out.name).chmod(0o666 & ~_umask())
            Path(out.name).replace(path)
        except BaseException:
            Path(out.name).unlink(missing_ok=True)
            raise
    return count


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
