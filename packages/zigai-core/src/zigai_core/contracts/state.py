"""State: what a model keeps of a sequence from one step to the next.

A state has a name, like a weight. `GraphBuilder` makes it, and the operations that use it have it as a field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class KVCache:
    """For each token of a sequence, a key and a value for each KV head.

    `key_dim` and `value_dim` are the widths of a head's key and value, in elements. With `window` w, a row
    at index i reads only entries whose index is above i - w, so that older ones may be given up. With
    `values_in_keys`, values are not stored: a head's value is the first `value_dim` elements of its key.
    """

    kv_heads: int
    key_dim: int
    value_dim: int
    window: int | None = None
    values_in_keys: bool = False


@dataclass(frozen=True)
class Recurrent:
    """Arrays that each token replaces: by name, their shape and numpy dtype (`float32`).

    A sequence without tokens has zeros. Arrays are never changed in place: a step reads the slot of a
    sequence and writes other slots.
    """

    arrays: Mapping[str, tuple[tuple[int, ...], str]]


@dataclass(frozen=True)
class State:
    """A named state of a graph. Two operations may use the same one, such as layers that share a cache."""

    name: str
    spec: KVCache | Recurrent


@dataclass(frozen=True)
class StateGroup:
    """The states of a graph that share page tables or slots: an entry of `Graph.groups`.

    A group is either all KV caches with the same window, or all recurrent states. Its memory consists of
    pages of `CompileOptions.page` tokens, or of slots; a page or slot holds a part of every state.
    """

    states: tuple[State, ...]
    window: int | None = None
    recurrent: bool = False
