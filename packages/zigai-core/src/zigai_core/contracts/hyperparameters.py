"""`Hyperparameters`: the numbers of a model by their keys, with typed getters."""

from __future__ import annotations

import math
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import Any

import numpy as np

from zigai_core.contracts.errors import FormatError, UnsupportedError, escape, quote

_LARGEST = float(np.finfo(np.float32).max)


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
            raise self.error(key, f"has {len(value)} entries for {length} layers")
        return tuple(self._whole(key, entry, minimum, maximum) for entry in value)

    def number(
        self,
        key: str,
        default: float | None = None,
        *,
        minimum: float = float("-inf"),
        maximum: float = float("inf"),
    ) -> float:
        """Returns a number within `minimum..maximum` that float32, in which models compute, holds, too."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise self.error(key, f"must be a number, not {quote(value)}")
        try:
            number = float(value)
        except OverflowError:  # an integer too large for a float
            number = float("inf")
        if not math.isfinite(number) or not minimum <= number <= maximum:
            raise self.error(key, f"is {quote(value)}, outside {minimum}..{maximum}")
        if abs(number) > _LARGEST:
            raise self.error(key, f"is {quote(value)}, outside ±{_LARGEST:.3g}, the numbers of float32")
        return number + 0.0  # -0.0 becomes 0.0

    def text(self, key: str, default: str | None = None) -> str:
        """Returns a string."""
        value = self._stored(key, default)
        if not isinstance(value, str):
            raise self.error(key, f"must be a string, not {quote(value)}")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        """Returns a boolean."""
        value = self._value(key, default)
        if not isinstance(value, (bool, np.bool_)):
            raise self.error(key, f"must be true or false, not {quote(value)}")
        return bool(value)

    def error(self, key: str, what: str) -> FormatError:
        """Returns the error for a value that is not valid, with the file and the whole key.

        >>> Hyperparameters({}, prefix="llama", source="a.gguf").error("rope.freq_base", "is 0")
        FormatError('a.gguf: hyperparameter llama.rope.freq_base is 0')
        """
        return FormatError(self._named(key, what))

    def unsupported(self, key: str, what: str) -> UnsupportedError:
        """Returns the error for a value that is not supported, as `error` does."""
        return UnsupportedError(self._named(key, what))

    def _whole(self, key: str, value: Any, minimum: int, maximum: int) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise self.error(key, f"must be a whole number, not {quote(value)}")
        if not minimum <= value <= maximum:
            raise self.error(key, f"is {quote(value)}, outside {minimum}..{maximum}")
        return int(value)

    def _value(self, key: str, default: Any) -> Any:
        """Returns a single value; of a list of one entry per layer, the entry that all are equal to."""
        value = self._stored(key, default)
        if not _is_array(value):
            return value
        layers = self._values.get("block_count")
        if not len(value) or (isinstance(layers, int) and len(value) != layers):
            raise self.error(key, f"has {len(value)} entries for {quote(layers)} layers")
        first = value[0]
        if not _all_equal(value, first):
            what = f"differs between layers, {quote(value)}, which this architecture does not support"
            raise self.unsupported(key, what)
        return first.item() if isinstance(first, np.generic) else first

    def _stored(self, key: str, default: Any) -> Any:
        self._read.add(key)
        value = self._values.get(key, default)
        if value is None:
            raise self.error(key, "is missing")
        return value

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
