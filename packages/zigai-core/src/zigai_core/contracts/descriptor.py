"""What a file says about a model, whatever its format: the border between reading and running.

Names of tensors and hyperparameters are GGUF's (`blk.0.attn_q.weight`, `attention.head_count`); a format
that calls them otherwise maps its own names to these at its edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.dtypes import DType
from zigai_core.contracts.errors import FormatError, ShapeError, UnsupportedError, escape, quote

Pairing = Literal["adjacent", "half"]
"""Which elements of a head RoPE turns together: `(2i, 2i+1)`, or `(i, i + n/2)` of the first n."""


@dataclass(frozen=True, eq=False)
class TensorInfo:
    """One named tensor: its shape, how its elements are stored, and a view of its bytes.

    `shape` is in numpy's order, so a linear layer's weight is `(outputs, inputs)`; blocks of a quantised
    type run along the last axis. `data` is a read-only, one-dimensional uint8 view of exactly
    `dtype.nbytes(shape)` bytes: mapped, not copied, and checked against the file by the format.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    data: NDArray[np.uint8]
    release: Callable[[], None] | None = None
    """Says that `data` will hardly be read again, so that memory which only mirrors a file may go to others;
    reading it later still works. None where there is nothing to give back."""
    identity: str | None = None
    """Tells these bytes from all others without reading them: which file, its size and times, and where in
    it. What is kept of a tensor between runs is kept under this name. None where nothing tells."""

    @property
    def nbytes(self) -> int:
        """Bytes that the stored tensor takes."""
        return int(self.data.nbytes)

    def reshaped(self, shape: tuple[int, ...]) -> TensorInfo:
        """The same bytes under `shape`, which differs in leading ones alone; else `ShapeError`."""
        if self.shape == shape:
            return self
        if without_leading_ones(self.shape) != without_leading_ones(shape):
            raise ShapeError(f"tensor {escape(self.name)} has shape {self.shape}, {shape} is needed")
        return replace(self, shape=shape)

    def to_float32(self) -> NDArray[np.float32]:
        """The tensor's values, dequantised: float32 of shape `shape`. A copy, except for aligned F32."""
        return self.dtype.to_float32(self.data, self.shape)

    def rows_to_float32(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Some rows, dequantised: float32 `[len(rows), shape[-1]]`, counted over all axes but the last."""
        width = self.shape[-1]
        stored = self.data.reshape(-1, self.dtype.nbytes((width,)))[rows]
        return self.dtype.to_float32(stored.reshape(-1), (len(rows), width))


def without_leading_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape whose first dimension, unless it is the only one, is not 1: the same bytes lie under both.

    >>> without_leading_ones((1, 1, 64)), without_leading_ones((1,))
    ((64,), (1,))
    """
    first = next((i for i, size in enumerate(shape) if size != 1), len(shape) - 1)
    return shape[max(first, 0) :]


class Hyperparameters(Mapping[str, Any]):
    """The model's numbers by their GGUF names without the architecture's prefix, with typed getters.

    A getter raises `FormatError` naming the key where it is absent (and no default is given), of another
    type, or out of range, so a value that reaches an architecture is one it may rely on. A key may hold an
    entry for each layer: all equal, they stand for one value; where they differ, `integers` gives them and
    the getters of one value raise `UnsupportedError`.

    >>> hp = Hyperparameters({"block_count": 2}, prefix="llama")
    >>> hp.integer("block_count", minimum=1)
    2
    >>> hp.integer("rope.dimension_count", default=64)
    64
    >>> Hyperparameters({"block_count": 2, "attention.head_count": [8, 8]}).integer("attention.head_count")
    8
    """

    def __init__(self, values: Mapping[str, Any], *, prefix: str = "", source: str = "") -> None:
        self._values = dict(values)
        self._prefix = prefix
        self._source = source
        self._read: set[str] = set()

    @property
    def read(self) -> frozenset[str]:
        """The keys that getters, `get` or `[]` were asked for."""
        return frozenset(self._read)

    def tracked(self) -> Hyperparameters:
        """The same numbers, none of them read yet."""
        return Hyperparameters(self._values, prefix=self._prefix, source=self._source)

    def replaced(self, **values: Any) -> Hyperparameters:
        """The same numbers but these (two underscores stand for a dot); what is read there is read here."""
        new = {key.replace("__", "."): value for key, value in values.items()}
        other = Hyperparameters({**self._values, **new}, prefix=self._prefix, source=self._source)
        other._read = self._read
        return other

    def __getitem__(self, key: str) -> Any:
        self._read.add(key)
        return self._values[key]

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def items(self) -> ItemsView[str, Any]:
        """Keys and values, to look at: none counts as read."""
        return self._values.items()

    def values(self) -> ValuesView[Any]:
        """The values, to look at: none counts as read."""
        return self._values.values()

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Hyperparameters({self._values!r}, prefix={self._prefix!r})"

    def integer(
        self, key: str, default: int | None = None, *, minimum: int = 0, maximum: int = 2**31 - 1
    ) -> int:
        """A whole number within `minimum..maximum`."""
        return self._whole(key, self._value(key, default), minimum, maximum)

    def integers(
        self, key: str, length: int, default: int | None = None, *, minimum: int = 0, maximum: int = 2**31 - 1
    ) -> tuple[int, ...]:
        """One whole number for each of `length` layers; a file may give one for all of them."""
        value = self._stored(key, default)
        if not _is_array(value):
            return (self._whole(key, value, minimum, maximum),) * length
        if len(value) != length:
            raise self._error(key, f"has {len(value)} entries for {length} layers")
        return tuple(self._whole(key, entry, minimum, maximum) for entry in value)

    def number(
        self,
        key: str,
        default: float | None = None,
        *,
        minimum: float = float("-inf"),
        maximum: float = float("inf"),
    ) -> float:
        """A finite number within `minimum..maximum`."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise self._error(key, f"must be a number, not {quote(value)}")
        try:
            number = float(value)
        except OverflowError:  # an integer that no float holds
            number = float("inf")
        if not math.isfinite(number) or not minimum <= number <= maximum:
            raise self._error(key, f"is {quote(value)}, outside {minimum}..{maximum}")
        return number + 0.0  # -0.0 becomes 0.0

    def text(self, key: str, default: str | None = None) -> str:
        """A string."""
        value = self._stored(key, default)
        if not isinstance(value, str):
            raise self._error(key, f"must be text, not {quote(value)}")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        """True or false."""
        value = self._value(key, default)
        if not isinstance(value, (bool, np.bool_)):
            raise self._error(key, f"must be true or false, not {quote(value)}")
        return bool(value)

    def _whole(self, key: str, value: Any, minimum: int, maximum: int) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise self._error(key, f"must be a whole number, not {quote(value)}")
        if not minimum <= value <= maximum:
            raise self._error(key, f"is {quote(value)}, outside {minimum}..{maximum}")
        return int(value)

    def _value(self, key: str, default: Any) -> Any:
        """One value; of an entry for each layer, the one that all of them are."""
        value = self._stored(key, default)
        if not _is_array(value):
            return value
        layers = self._values.get("block_count")
        if not len(value) or (isinstance(layers, int) and len(value) != layers):
            raise self._error(key, f"has {len(value)} entries for {quote(layers)} layers")
        first = value[0]
        if not _all_equal(value, first):
            what = f"differs from layer to layer, {quote(value)}, which this architecture does not compute"
            raise UnsupportedError(self._named(key, what))
        return first.item() if isinstance(first, np.generic) else first

    def _stored(self, key: str, default: Any) -> Any:
        self._read.add(key)
        value = self._values.get(key, default)
        if value is None:
            raise self._error(key, "is missing")
        return value

    def _error(self, key: str, what: str) -> FormatError:
        return FormatError(self._named(key, what))

    def _named(self, key: str, what: str) -> str:
        name = f"{escape(self._prefix)}.{key}" if self._prefix else key
        where = f"{self._source}: " if self._source else ""
        return f"{where}hyperparameter {name} {what}"


def _is_array(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim == 1)


def _all_equal(entries: Any, first: Any) -> bool:
    if isinstance(entries, np.ndarray):
        return bool(np.all(entries == first))
    return all(type(entry) is type(first) and not _is_array(entry) and entry == first for entry in entries)


@dataclass(frozen=True)
class Conventions:
    """What a format settles once for all its files and another format settles otherwise."""

    rope_pairing: Pairing = "half"
    """How rows of queries and keys are paired for RoPE: `half` as Hugging Face's checkpoints hold most
    models, `adjacent` where the format's converter permutes them, or the model is made so."""


@dataclass(frozen=True, eq=False)
class TokenizerSpec:
    """A vocabulary as a file holds it; `kind` is the registry's name for the tokenizer that serves it.

    `tokens[i]` is the text of token i as stored. `types[i]` is GGUF's token type: 1 normal, 2 unknown,
    3 control, 4 user-defined, 5 unused, 6 byte; all normal where a file has none.
    """

    kind: str
    tokens: Sequence[str]
    scores: NDArray[np.float32] | None = None
    types: NDArray[np.int32] | None = None
    merges: Sequence[str] | None = None
    pre_tokenizer: str | None = None
    special_ids: Mapping[str, int] = field(default_factory=dict)
    """Ids by role: `bos`, `eos`, `unknown`, `padding`, `eot`, …"""
    end_ids: frozenset[int] = frozenset()
    """Ids that end a reply: the file's eos, eot and eom."""
    add_bos: bool = False
    add_eos: bool = False
    add_space_prefix: bool = True
    remove_extra_whitespaces: bool = False
    precompiled_charsmap: bytes | None = None


@dataclass(frozen=True, eq=False)
class ModelDescriptor:
    """All that a format reader tells: nothing in it is computed, and no tensor has been copied."""

    name: str
    architecture: str
    hyperparameters: Hyperparameters
    tensors: Mapping[str, TensorInfo]
    tokenizer: TokenizerSpec | None = None
    chat_template: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    conventions: Conventions = field(default_factory=Conventions)
    format: str = ""
    path: Path | None = None

    @property
    def parameters(self) -> int:
        """How many weights the model has."""
        return sum(int(np.prod(tensor.shape, dtype=np.int64)) for tensor in self.tensors.values())

    @property
    def nbytes(self) -> int:
        """Bytes that the stored tensors take."""
        return sum(tensor.nbytes for tensor in self.tensors.values())
