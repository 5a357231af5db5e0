"""Factors of layers, which transformers makes ones: they are buffers, which no oracle draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def save(folder: Path) -> None:
    """Writes another factor for each layer into the folder's tensors."""
    from safetensors.numpy import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    names = sorted(name for name in tensors if name.endswith("layer_scalar"))
    for number, name in enumerate(names):
        tensors[name] = np.array([0.3 + 0.1 * number], np.float32)
    save_file(tensors, path, metadata={"format": "pt"})
