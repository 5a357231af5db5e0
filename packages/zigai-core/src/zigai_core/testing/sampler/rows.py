"""Rows of logits and masks on which steps are tested: those of backends, and more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.graph import Array
from zigai_core.testing.backend import best as backend_best


def finite_rows(seed: int = 0) -> dict[str, Array]:
    """Returns rows by name, all finite: random, with ties, extreme, and very short."""
    rng = np.random.default_rng(seed)
    normal = rng.normal(0, 3, 500)
    own = {
        "narrow": rng.normal(0, 0.01, 300),
        "peaked": np.where(np.arange(500) == 77, 25.0, normal),
        "two peaks": np.where(np.arange(500) % 300 == 77, 25.0, normal),
        "all but one as low as can be": np.where(np.arange(100) == 99, 3.4e38, -3.4e38),
        "few": rng.normal(0, 2, 9),
        "two": np.array([0.5, -0.5]),
        "two equal": np.array([1.0, 1.0]),
        "two extreme": np.array([-3.4e38, 3.4e38]),
        "one": np.array([3.0]),
        "one extreme": np.array([-3.4e38]),
    }
    rows = backend_best.rows_of_logits(seed) | {name: row.astype(np.float32) for name, row in own.items()}
    return {name: row for name, row in rows.items() if np.isfinite(row).all()}


def large_row() -> Array:
    """Returns a row of the largest vocabularies in use, 152,000 tokens."""
    row: Array = np.random.default_rng(9).normal(0, 3, 152_000).astype(np.float32)
    return row


def masks_with_the_last(size: int) -> list[NDArray[np.uint32]]:
    """Returns bitsets that allow all tokens, half of them, a few, and the last one alone."""
    masks = backend_best.masks_of(size)
    for mask in masks:
        mask[(size - 1) // 32] |= np.uint32(1 << (size - 1) % 32)
    return masks
