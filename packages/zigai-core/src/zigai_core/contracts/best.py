"""The k largest logits of a row: the types, and the definition in numpy that programs are tested against."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Array


class Edits(NamedTuple):
    """Replacements for some of a row's logits."""

    ids: NDArray[np.int32]
    """Token ids `[edits]`, strictly ascending."""
    logits: NDArray[np.float32]
    """Their new logits `[edits]`; -inf excludes a token."""


class Best(NamedTuple):
    """The largest logits of a row in descending order; equal logits are in ascending order of id."""

    ids: NDArray[np.int32]
    logits: NDArray[np.float32]
    damaged: int | None
    """The first id whose logit, before edits and mask, is NaN or infinite; None if all are finite."""


def best(
    row: Array,
    k: int,
    edits: Edits | None = None,
    mask: NDArray[np.uint32] | None = None,
    *,
    width: int | None = None,
) -> Best:
    """Returns the k largest logits of `row` `[vocabulary]`, after edits and mask.

    `mask` `[ceil(vocabulary / 32)]` is a bitset: token t is excluded unless bit t % 32 of word t // 32 is
    set. Logits of -inf and NaN are never returned, so there may be fewer than k. `width`: the row ends after
    so many logits; those beyond are neither returned nor reported as damaged, and edits and mask are of the
    shorter row. Raises `ShapeError` for arrays of the wrong shape or type, for edits that are out of order
    or outside the row, and for a width outside it.

    >>> best(np.array([1, 3, 3, 2], np.float32), 2).ids
    array([1, 2], dtype=int32)
    """
    row = shortened(row, width)
    check_best(row, k, edits, mask)
    finite = np.isfinite(row)
    damaged = None if finite.all() else int(np.argmin(finite))
    logits = row + np.float32(0)  # -0.0 becomes 0.0
    if edits is not None:
        logits[edits.ids] = edits.logits + np.float32(0)
    if mask is not None:
        logits[~bits(mask, len(row))] = -np.inf
    ids = np.flatnonzero(logits > -np.inf)
    if k < len(ids):
        kept = logits[ids]
        least = np.partition(kept, len(kept) - k)[len(kept) - k]
        above = ids[kept > least]
        ids = np.sort(np.concatenate([above, ids[kept == least][: k - len(above)]]))
    ids = ids[np.argsort(-logits[ids], kind="stable")]
    return Best(ids.astype(np.int32), logits[ids], damaged)


def bits(mask: NDArray[np.uint32], count: int) -> NDArray[np.bool_]:
    """Returns the first `count` bits of a bitset, starting with the lowest bit of each word."""
    octets = np.ascontiguousarray(mask, "<u4").view(np.uint8)
    return np.unpackbits(octets, count=count, bitorder="little").view(np.bool_)


def bitset(chosen: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Returns the bitset of `chosen`, padded with zero bits to whole words."""
    octets = np.packbits(chosen, bitorder="little")
    padded = np.zeros(-(-len(chosen) // 32) * 4, np.uint8)
    padded[: len(octets)] = octets
    return padded.view("<u4").astype(np.uint32, copy=False)


def shortened(row: Array, width: int | None) -> Array:
    """Returns the first `width` logits of a row, all if None. Raises `ShapeError` for a width outside it."""
    if width is None:
        return row
    if not 0 < width <= len(row):
        raise ShapeError(f"best: the width must be within 1..{len(row)}, not {width}")
    return row[:width]


def check_best(row: Array, k: int, edits: Edits | None, mask: NDArray[np.uint32] | None) -> None:
    """Raises `ShapeError` if these are not valid arguments of `best`."""
    if row.ndim != 1 or row.dtype != np.float32 or not len(row):
        raise ShapeError(f"best: the row must be float32 [vocabulary], not {row.dtype} {row.shape}")
    if k < 1:
        raise ShapeError(f"best: k must be at least 1, not {k}")
    if edits is not None and len(edits.ids):
        ids, logits = edits
        if ids.ndim != 1 or ids.dtype != np.int32 or logits.shape != ids.shape or logits.dtype != np.float32:
            raise ShapeError("best: edits must be one-dimensional, int32 ids and as many float32 logits")
        if ids[0] < 0 or ids[-1] >= len(row) or not np.all(ids[1:] > ids[:-1]):
            raise ShapeError(f"best: edited ids must be strictly ascending, within 0..{len(row) - 1}")
    if mask is not None and (mask.dtype != np.uint32 or mask.shape != (-(-len(row) // 32),)):
        raise ShapeError(
            f"best: the mask must be uint32 [{-(-len(row) // 32)}] for a row of {len(row)}, "
            f"not {mask.dtype} {mask.shape}"
        )
