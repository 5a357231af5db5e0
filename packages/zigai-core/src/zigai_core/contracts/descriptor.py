"""What a file says about a model, whatever its format: the border between reading and running.

Names of tensors and hyperparameters are GGUF's (`blk.0.attn_q.weight`, `attention.head_count`); a format
that calls them otherwise maps its own names to these at its edge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.dtypes import DType
from zigai_core.contracts.errors import FormatError


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

    def to_float32(self) -> NDArray[np.float32]:
        """The tensor's values, dequantised: float32 of shape `shape`. A copy, except for aligned F32."""
        return self.dtype.to_float32(self.data, self.shape)

    def rows_to_float32(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Some rows, dequantised: float32 `[len(rows), shape[-1]]`, counted over all axes but the last."""
        width = self.shape[-1]
        stored = self.data.reshape(-1, self.dtype.nbytes((width,)))[rows]
        return self.dtype.to_float32(stored.reshape(-1), (len(rows), width))


class Hyperparameters(Mapping[str, Any]):
    """The model's numbers by their GGUF names without the architecture's prefix, with typed getters.

    A getter raises `FormatError` naming the key where it is absent (and no default is given), of another
    type, or out of range, so a value that reaches an architecture is one it may rely on.

    >>> hp = Hyperparameters({"block_count": 2}, prefix="llama")
    >>> hp.integer("block_count", minimum=1)
    2
    >>> hp.integer("rope.dimension_count", default=64)
    64
    """

    def __init__(self, values: Mapping[str, Any], *, prefix: str = "", source: str = "") -> None:
        self._values = dict(values)
        self._prefix = prefix
        self._source = source

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

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
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise self._error(key, f"must be a whole number, not {value!r}")
        if not minimum <= value <= maximum:
            raise self._error(key, f"is {value}, outside {minimum}..{maximum}")
        return int(value)

    def integers(
        self, key: str, length: int, default: int | None = None, *, minimum: int = 0, maximum: int = 2**31 - 1
    ) -> tuple[int, ...]:
        """One whole number for each of `length` layers; a file may give one for all of them."""
        value = self._value(key, default)
        if isinstance(value, np.ndarray):
            value = value.tolist()
        if not isinstance(value, (list, tuple)):
            return (self.integer(key, default, minimum=minimum, maximum=maximum),) * length
        if len(value) != length:
            raise self._error(key, f"has {len(value)} entries for {length} layers")
        for entry in value:
            if isinstance(entry, bool) or not isinstance(entry, int) or not minimum <= entry <= maximum:
                raise self._error(key, f"holds {entry!r}, not a whole number within {minimum}..{maximum}")
        return tuple(value)

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
            raise self._error(key, f"must be a number, not {value!r}")
        if not np.isfinite(value) or not minimum <= value <= maximum:
            raise self._error(key, f"is {value}, outside {minimum}..{maximum}")
        return float(value)

    def text(self, key: str, default: str | None = None) -> str:
        """A string."""
        value = self._value(key, default)
        if not isinstance(value, str):
            raise self._error(key, f"must be text, not {value!r}")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        """True or false."""
        value = self._value(key, default)
        if not isinstance(value, (bool, np.bool_)):
            raise self._error(key, f"must be true or false, not {value!r}")
        return bool(value)

    def _value(self, key: str, default: Any) -> Any:
        value = self._values.get(key, default)
        if value is None:
            raise self._error(key, "is missing")
        return value

    def _error(self, key: str, what: str) -> FormatError:
        name = f"{self._prefix}.{key}" if self._prefix else key
        where = f"{self._source}: " if self._source else ""
        return FormatError(f"{where}hyperparameter {name} {what}")


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
