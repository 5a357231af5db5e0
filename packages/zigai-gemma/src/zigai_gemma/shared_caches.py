"""Caches of which the last layers of Gemma 3n and Gemma 4 read those of earlier ones."""

from __future__ import annotations

from typing import NamedTuple

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.contracts.state import KVCache, State
from zigai_core.ops.blocks import DecoderShape
from zigai_core.ops.builder import GraphBuilder

SHARED = "attention.shared_kv_layers"


class Cache(NamedTuple):
    """The cache of a layer, and whether an earlier layer writes it."""

    state: State
    shared: bool


class SharedCaches:
    """The caches of a model's layers.

    Each of the last `attention.shared_kv_layers` layers reads the cache of the last layer of its kind, with a
    window or without, before them (transformers, `kv_sharing_modes`).
    """

    def __init__(self, g: GraphBuilder, hp: Hyperparameters, layers: int) -> None:
        """Raises `FormatError` unless the first of `layers` layers has a cache of its own."""
        shared = hp.integer(SHARED, 0, maximum=layers - 1)
        self._g, self._hp = g, hp
        self._own = layers - shared
        self._last: dict[bool, State] = {}

    def of(self, number: int, windowed: bool, shape: DecoderShape, window: int | None) -> Cache:
        """Returns the cache of the next layer, made for it or shared. Call it once for each layer, in order.

        Raises `FormatError` if no earlier layer of this kind has a cache.
        """
        if number < self._own:
            spec = KVCache(shape.kv_heads, shape.head_dim, shape.value_dim, window)
            self._last[windowed] = self._g.state(f"blk.{number}", spec)
        elif windowed not in self._last:
            kind = "with a window" if windowed else "without a window"
            raise self._hp.error(
                SHARED,
                f"lets layer {number} read the cache of an earlier layer {kind}, but none of the first "
                f"{self._own} is one (attention.sliding_window_pattern)",
            )
        return Cache(self._last[windowed], number >= self._own)
