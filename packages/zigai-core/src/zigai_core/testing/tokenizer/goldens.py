"""Golden token ids: what another implementation makes of texts, in a mapping or a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Goldens = Mapping[str, Sequence[int]]
"""Token ids by text, without the beginning-of-sequence token and with `special` off."""

ARRAYS = ("text", "text_bytes", "ids", "id_counts")
"""Arrays of an .npz file: the UTF-8 of all texts, uint8; the bytes of each; all ids; the number of each's."""


def load_goldens(goldens: Goldens | Path | str) -> dict[str, list[int]]:
    """Returns ids by text, of a mapping or of a file.

    A .json file is an object of texts and lists of ids; an .npz file has the four `ARRAYS`. Raises
    `AssertionError` for a file of another structure.
    """
    if isinstance(goldens, Mapping):
        return {text: [int(token) for token in ids] for text, ids in goldens.items()}
    path = Path(goldens)
    if path.suffix == ".npz":
        return _of_arrays(path)
    assert path.suffix == ".json", f"{path}: golden ids are in a .json or an .npz file"
    stored = json.loads(path.read_text("utf-8"))
    assert isinstance(stored, dict), f"{path}: must be an object of texts and lists of ids"
    for text, ids in stored.items():
        whole = isinstance(ids, list) and all(type(token) is int for token in ids)
        assert whole, f"{path}: the ids of {text!r} must be a list of integers"
    return stored


def save_goldens(path: Path, goldens: Goldens) -> None:
    """Writes an .npz file for `load_goldens`, compressed."""
    texts = [text.encode() for text in goldens]
    arrays: list[Any] = [
        np.frombuffer(b"".join(texts), np.uint8),
        np.array([len(text) for text in texts], np.int64),
        np.array([token for ids in goldens.values() for token in ids], np.int32),
        np.array([len(ids) for ids in goldens.values()], np.int64),
    ]
    np.savez_compressed(path, **dict(zip(ARRAYS, arrays, strict=True)))


def _of_arrays(path: Path) -> dict[str, list[int]]:
    with np.load(path, allow_pickle=False) as stored:
        assert set(stored.files) == set(ARRAYS), f"{path}: must have the arrays {', '.join(ARRAYS)}"
        text, sizes, ids, counts = (stored[name] for name in ARRAYS)
    fits = len(sizes) == len(counts) and (sizes.sum(), counts.sum()) == (len(text), len(ids))
    assert fits and text.dtype == np.uint8, f"{path}: the counts differ from what is counted"
    spans = zip(np.cumsum(sizes) - sizes, sizes, np.cumsum(counts) - counts, counts, strict=True)
    return {
        text[start : start + size].tobytes().decode(): ids[first : first + count].tolist()
        for start, size, first, count in spans
    }
