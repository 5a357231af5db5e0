"""The description of a model that a format reader returns, the same for every file format.

Names of tensors and hyperparameters are GGUF's (`blk.0.attn_q.weight`, `attention.head_count`); readers of
other formats translate their own names to these.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.dtypes import DType
from zigai_core.contracts.errors import FormatError, ShapeError, UnsupportedError, escape, quote

PrefixScheme = Literal["prepend", "always", "first"]
"""Which texts a space is put before (`TokenizerSpec.prefix_scheme`); names of the tokenizers library."""

Pairing = Literal["adjacent", "half"]
"""Which elements of a head RoPE rotates as a pair: `adjacent`, `(2i, 2i+1)`; `half`, `(i, i + n/2)`.

n is the number of rotated elements of a head (`rope.dimension_count`).
"""


@dataclass(frozen=True, eq=False)
class TensorInfo:
    """A named tensor: its shape, its storage type and a view of its bytes.

    `shape` is in numpy's order: a linear layer's weight is `(outputs, inputs)`. Blocks of a quantised type
    run along the last axis. `data` is a read-only, one-dimensional uint8 view of exactly
    `dtype.nbytes(shape)` bytes, mapped from the file without a copy. The format reader has checked it against
    the file's size.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    data: NDArray[np.uint8]
    release: Callable[[], None] | None = None
    """Frees the memory that holds the mapped bytes of `data`; to be called once they are unlikely to be read
    again. Reading them later still works. None if there is nothing to free."""
    identity: str | None = None
    """Identifies the bytes without reading them: the file, its size and times, and the offset in it. Packed
    weights that are kept between runs are found by it. None if the bytes cannot be identified."""
    check: Callable[[], None] | None = None
    """Raises `FormatError` if the file that `data` is mapped from has been cut short since; to be called
    before `data` is read. None for bytes in memory."""

    @property
    def nbytes(self) -> int:
        """Size of the stored tensor in bytes."""
        return int(self.data.nbytes)

    def reshaped(self, shape: tuple[int, ...]) -> TensorInfo:
        """Returns the same bytes under `shape`. Raises `ShapeError` unless only leading ones differ."""
        if self.shape == shape:
            return self
        if without_leading_ones(self.shape) != without_leading_ones(shape):
            raise ShapeError(f"tensor {escape(self.name)} has shape {self.shape}, but {shape} is needed")
        return self.changed(shape=shape)

    def changed(self, **values: Any) -> TensorInfo:
        """Returns a tensor of the same bytes with another `name`, `shape` or `dtype`."""
        return replace(self, **values)

    def to_float32(self) -> NDArray[np.float32]:
        """Returns the dequantised values: float32 of shape `shape`. A copy, except for aligned F32.

        Raises `FormatError` if the file has been cut short.
        """
        self.check_file()
        return self.dtype.to_float32(self.data, self.shape)

    def check_file(self) -> None:
        """Calls `check` if there is one."""
        if self.check is not None:
            self.check()

    def rows_to_float32(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Returns some rows, dequantised: float32 `[len(rows), shape[-1]]`.

        `rows` are indices into the tensor reshaped to `[-1, shape[-1]]`. Raises `FormatError` if the file has
        been cut short.
        """
        self.check_file()
        width = self.shape[-1]
        stored = self.data.reshape(-1, self.dtype.nbytes((width,)))[rows]
        return self.dtype.to_float32(stored.reshape(-1), (len(rows), width))


class JoinedTensor(TensorInfo):
    """A stack of tensors that lie apart in files, such as the experts of a layer that are stored one by one.

    `data` is a copy, made each time it is asked for.
    """

    parts: tuple[TensorInfo, ...]

    def __init__(self, name: str, parts: Sequence[TensorInfo]) -> None:
        """`parts` are of one shape and type, else `ShapeError`; the stack has one more dimension."""
        first = parts[0]
        for part in parts:
            if (part.shape, part.dtype) != (first.shape, first.dtype):
                raise ShapeError(
                    f"tensor {escape(part.name)} is {part.dtype.name} of shape {part.shape}, but "
                    f"{escape(first.name)}, with which it is joined, {first.dtype.name} of {first.shape}"
                )
        identities = [part.identity for part in parts]
        values = {
            "name": name,
            "shape": (len(parts), *first.shape),
            "dtype": first.dtype,
            "release": self._release,
            "identity": None if None in identities else " + ".join(map(str, identities)),
            "check": self._check,
            "parts": tuple(parts),
        }
        for key, value in values.items():
            object.__setattr__(self, key, value)

    @property
    def data(self) -> NDArray[np.uint8]:
        """The bytes of all parts, one after another: a copy."""
        return np.concatenate([part.data for part in self.parts])

    @property
    def nbytes(self) -> int:
        """Size of the stored tensors in bytes."""
        return sum(part.nbytes for part in self.parts)

    def changed(self, **values: Any) -> TensorInfo:
        """Returns a tensor of the same bytes with another `name`, `shape` or `dtype`."""
        other = copy.copy(self)
        for key, value in values.items():
            object.__setattr__(other, key, value)
        return other

    def _check(self) -> None:
        for part in self.parts:
            part.check_file()

    def _release(self) -> None:
        for part in self.parts:
            if part.release is not None:
                part.release()


def without_leading_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns `shape` without its leading ones, except that the last dimension is always kept.

    >>> without_leading_ones((1, 1, 64)), without_leading_ones((1,))
    ((64,), (1,))
    """
    first = next((i for i, size in enumerate(shape) if size != 1), len(shape) - 1)
    return shape[max(first, 0) :]


class Hyperparameters(Mapping[str, Any]):
    """A model's hyperparameters by their GGUF keys, without the architecture's prefix, with typed getters.

    A getter raises `FormatError`, with the key, if the value is missing and there is no default, is of the
    wrong type or is out of range. A value may be a list of one entry per layer: `integers` returns the
    entries; the other getters return the entry that all are equal to, and raise `UnsupportedError` if they
    differ. Keys that are read are recorded, so that loading can report those that no code reads.

    `prefix` (the architecture) and `source` (the file) are used in error messages.

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
        """The keys read so far, by a getter, `get` or `[]`."""
        return frozenset(self._read)

    def tracked(self) -> Hyperparameters:
        """Returns a copy in which no key has been read."""
        return Hyperparameters(self._values, prefix=self._prefix, source=self._source)

    def replaced(self, **values: Any) -> Hyperparameters:
        """Returns a copy with other values for some keys (two underscores stand for a dot).

        The copy shares the record of keys read.
        """
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
        """Keys and values, without recording them as read."""
        return self._values.items()

    def values(self) -> ValuesView[Any]:
        """The values, without recording them as read."""
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
        """Returns a whole number within `minimum..maximum`."""
        return self._whole(key, self._value(key, default), minimum, maximum)

    def integers(
        self, key: str, length: int, default: int | None = None, *, minimum: int = 0, maximum: int = 2**31 - 1
    ) -> tuple[int, ...]:
        """Returns one whole number for each of `length` layers. A single value in the file is repeated."""
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
        """Returns a finite number within `minimum..maximum`."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise self._error(key, f"must be a number, not {quote(value)}")
        try:
            number = float(value)
        except OverflowError:  # an integer too large for a float
            number = float("inf")
        if not math.isfinite(number) or not minimum <= number <= maximum:
            raise self._error(key, f"is {quote(value)}, outside {minimum}..{maximum}")
        return number + 0.0  # -0.0 becomes 0.0

    def text(self, key: str, default: str | None = None) -> str:
        """Returns a string."""
        value = self._stored(key, default)
        if not isinstance(value, str):
            raise self._error(key, f"must be a string, not {quote(value)}")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        """Returns a boolean."""
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
        """Returns a single value; of a list of one entry per layer, the entry that all are equal to."""
        value = self._stored(key, default)
        if not _is_array(value):
            return value
        layers = self._values.get("block_count")
        if not len(value) or (isinstance(layers, int) and len(value) != layers):
            raise self._error(key, f"has {len(value)} entries for {quote(layers)} layers")
        first = value[0]
        if not _all_equal(value, first):
            what = f"differs between layers, {quote(value)}, which this architecture does not support"
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
    """Choices in storing a model that formats make differently."""

    rope_pairing: Pairing = "half"
    """Which rows of the query and key weights RoPE rotates as a pair: `half`, as most checkpoints of Hugging
    Face have them; `adjacent` if the converter of the format permutes them, or the model was trained so."""


@dataclass(frozen=True, eq=False)
class TokenizerSpec:
    """A vocabulary as stored in a file.

    `kind` is the name under which its tokenizer is registered (entry point `zigai.tokenizers`). `tokens[i]`
    is the stored text of token i, `scores[i]` its score for SentencePiece. `types[i]` is GGUF's token type:
    1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte; None means that all are normal.
    `merges` are the merges of BPE, two tokens with a space between them, in order of rank, and
    `pre_tokenizer` is the name of its pre-tokenizer in GGUF. The five fields from `add_bos` on are settings
    of tokenizers, with the names and meanings of GGUF's keys (`tokenizer.ggml.add_bos_token`, …). Those from
    `splits` on are settings of tokenizer.json.

    Kinds: `llama`, SentencePiece BPE, whose scores order the merges; `gpt2`, byte-level BPE by merges; `bpe`,
    BPE of characters by merges, with U+2581 for spaces and byte tokens for characters without a token.
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
    splits: Sequence[str] | None = None
    """Regular expressions of the pre-tokenizer (Oniguruma's syntax), in place of its name: each splits the
    words of those before it."""
    ignore_merges: bool = False
    """With `splits`: whether a word that is a token becomes that token even if no merges produce it."""
    normalizer: str | None = None
    """Unicode normalisation of texts before they are encoded: None or `NFC`."""
    prefix_scheme: PrefixScheme = "prepend"
    """For the kind `bpe`, before which texts between special tokens `add_space_prefix` puts a space: every
    one (`prepend`), those that do not begin with one (`always`), or only such a text that has no special
    token before it (`first`). With `prepend`, making U+2581 of spaces is part of the normalisation; with the
    others, which are those of a step `Metaspace`, it comes after it."""
    normalized: frozenset[int] = frozenset()
    """Control and user-defined tokens whose normalised text is searched for in the normalised text, after the
    others have been found in the text as it is."""
    strip_left: frozenset[int] = frozenset()
    """Control and user-defined tokens that take the white space before them away."""
    strip_right: frozenset[int] = frozenset()
    """Control and user-defined tokens that take the white space after them away."""


@dataclass(frozen=True, eq=False)
class ModelDescriptor:
    """A model as read from a file: nothing has been computed, and no tensor has been copied.

    `architecture` is the name under which an `Architecture` is registered. `metadata` holds all keys of the
    file. `name` and `format` are for display. `files` are those of a model in several; `path` is then the
    first, or their folder.
    """

    name: str
    architecture: str
    hyperparameters: Hyperparameters
    tensors: Mapping[str, TensorInfo]
    tokenizer: TokenizerSpec | None = None
    chat_template: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """Sampling defaults of the file, by field of `SamplingOptions`; the reader has checked each of them."""
    conventions: Conventions = field(default_factory=Conventions)
    format: str = ""
    path: Path | None = None
    files: tuple[Path, ...] = ()

    @property
    def parameters(self) -> int:
        """Number of parameters: the elements of all tensors."""
        return sum(int(np.prod(tensor.shape, dtype=np.int64)) for tensor in self.tensors.values())

    @property
    def nbytes(self) -> int:
        """Size of all stored tensors in bytes."""
        return sum(tensor.nbytes for tensor in self.tensors.values())
