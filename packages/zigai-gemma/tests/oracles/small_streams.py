"""Small projections of streams, whose squares are below the least that transformers divides by."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def save(folder: Path) -> None:
    """Makes the matrices of the folder's streams smaller."""
    from safetensors.numpy import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name, factor in (("altup_projections", 1e-3), ("altup_unembed_projections", 5e-4)):
        for key in tensors:
            if f".{name}." in key:
                tensors[key] = (tensors[key] * factor).astype(np.float32)
    save_file(tensors, path, metadata={"format": "pt"})
