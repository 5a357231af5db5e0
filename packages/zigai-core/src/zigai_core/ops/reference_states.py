"""The states of the numpy reference backend: KV caches in pages, recurrent states in slots."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from zigai_core.contracts.batch import Batch, Ints, Pages, Slots
from zigai_core.contracts.errors import PluginError
from zigai_core.contracts.graph import Array
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.state import KVCache, Recurrent, State


class CacheMemory:
    """The pages of a KV cache: float32 `[pages, page, KV heads, width]` for keys and for values.

    If `CompileOptions.kv_dtype` is Q8_0, the numbers are rounded as Q8_0 would round them.
    """

    def __init__(self, state: State, spec: KVCache, pages: int, options: CompileOptions) -> None:
        self.state = state
        self.spec = spec
        self.page = options.page
        self.rounds = options.kv_dtype == "Q8_0"
        widths = {"keys": spec.key_dim} | ({} if spec.values_in_keys else {"values": spec.value_dim})
        self.arrays = {
            name: np.zeros((pages, self.page, spec.kv_heads, width), np.float32)
            for name, width in widths.items()
        }


class SlotMemory:
    """The slots of a recurrent state: `[slots, *shape]` for each of its arrays."""

    def __init__(self, state: State, spec: Recurrent, slots: int) -> None:
        self.state = state
        self.spec = spec
        self.arrays = {name: np.zeros((slots, *shape), dtype) for name, (shape, dtype) in spec.arrays.items()}


Memory = CacheMemory | SlotMemory


def new_memory(state: State, size: int, options: CompileOptions) -> Memory:
    """Returns the memory of `size` pages or slots of a state."""
    if isinstance(state.spec, KVCache):
        return CacheMemory(state, state.spec, size, options)
    return SlotMemory(state, state.spec, size)


def memory_bytes(state: State, page: int) -> int:
    """Returns the bytes of a page of `page` tokens, or of a slot, of a state."""
    spec = state.spec
    if isinstance(spec, KVCache):
        width = spec.key_dim if spec.values_in_keys else spec.key_dim + spec.value_dim
        return 4 * page * spec.kv_heads * width
    sizes = (np.dtype(dtype).itemsize * int(np.prod(shape)) for shape, dtype in spec.arrays.values())
    return sum(sizes)


class CacheStep:
    """A KV cache during a step. See `zigai_core.contracts.graph.KeysAndValues`."""

    def __init__(self, memory: CacheMemory, batch: Batch, pages: Pages) -> None:
        self._memory = memory
        self._batch = batch
        self._tables = pages.tables

    def append(self, keys: Array, values: Array | None) -> None:
        """Writes the step's keys and values to their places."""
        memory, batch = self._memory, self._batch
        if (values is None) != memory.spec.values_in_keys:
            raise PluginError(f"the values given do not fit the state {memory.state.name}")
        pages = np.empty(len(batch), np.int64)
        for sequence in np.unique(batch.sequences).tolist():
            rows = batch.sequences == sequence
            pages[rows] = self._tables[sequence][batch.index[rows] // memory.page]
        places = batch.index % memory.page
        for name, given in (("keys", keys), ("values", values)):
            if given is not None:
                memory.arrays[name][pages, places] = after_q8_0(given) if memory.rounds else given

    def read(self, sequence: int, first: int, end: int) -> tuple[Array, Array]:
        """Returns keys and values of indices `first..end - 1`."""
        memory = self._memory
        start = first // memory.page
        pages: Ints = self._tables[sequence][start : -(-end // memory.page)]
        if len(pages) and pages.min() < 0:
            raise PluginError(f"{memory.state.name}: index {first} is behind the window and was given up")
        skip = first - start * memory.page
        found = {
            name: array[pages].reshape(-1, *array.shape[2:])[skip : skip + end - first]
            for name, array in memory.arrays.items()
        }
        keys = found["keys"]
        return keys, found.get("values", keys[..., : memory.spec.value_dim])


class SlotStep:
    """A recurrent state during a step. See `zigai_core.contracts.graph.RecurrentState`."""

    def __init__(self, memory: SlotMemory, slots: Slots) -> None:
        self._memory = memory
        self._reads = slots.reads
        self._writes: dict[int, list[int]] = {}
        for row, slot in slots.writes.tolist():
            self._writes.setdefault(row, []).append(slot)

    def read(self, sequence: int) -> Mapping[str, Array]:
        """Returns copies of a sequence's arrays before the step; zeros if it has no tokens yet."""
        slot = int(self._reads[sequence])
        return {
            name: np.zeros(array.shape[1:], array.dtype) if slot < 0 else array[slot].copy()
            for name, array in self._memory.arrays.items()
        }

    def write(self, row: int, arrays: Mapping[str, Array]) -> None:
        """Writes the arrays after a row to the slots that the step has for them."""
        for slot in self._writes.get(row, ()):
            for name, array in self._memory.arrays.items():
                array[slot] = arrays[name]

    def written(self) -> frozenset[int]:
        """Returns the rows whose state the step stores."""
        return frozenset(self._writes)


def after_q8_0(x: Array) -> Array:
    """Returns `x` quantised to Q8_0 and dequantised again: int8 with a float16 scale per 32 elements.

    Blocks run along the last axis, and the last block may have fewer than 32 elements. As in GGUF's Q8_0, the
    scale is the largest magnitude divided by 127, and a block with an element that is not finite is lost.
    """
    size = x.shape[-1]
    parts = np.zeros((*x.shape[:-1], -(-size // 32), 32), np.float32)
    parts.reshape(*x.shape[:-1], -1)[..., :size] = x
    most = np.abs(parts).max(axis=-1, keepdims=True)
    scale = (most / np.float32(127)).astype(np.float16).astype(np.float32)
    inverse = np.divide(np.float32(127), most, out=np.zeros_like(most), where=most > 1e-35)
    with np.errstate(invalid="ignore"):
        whole: Array = np.clip(np.rint(parts * inverse), -127, 127) * scale
    return whole.reshape(*x.shape[:-1], -1)[..., :size]
