"""Oracles: a tiny model, a text, and what another implementation computes for it in float32.

An oracle is one `.npz` file, some tens of kilobytes, so that tests compare with the other implementation
without installing it. `zigai_core.testing.oracles.record` makes them from models of transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import (
    Conventions,
    Hyperparameters,
    ModelDescriptor,
    Pairing,
    TensorInfo,
)
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import FormatError, MissingFileError, ShapeError, quote
from zigai_core.contracts.graph import Array

VERSION = 2
"""The layout of the file: it changes if older code would read a newer file wrongly."""

_GRIDS = [2.0**power for power in range(-14, 1)]
_SMALLEST_GRIDDED = 16
"""Tensors with fewer elements are stored as float32: a scale would take as much."""


@dataclass(frozen=True, eq=False)
class Oracle:
    """A model with float32 weights, a text, and the outputs that another implementation computes.

    `model` has tensors and hyperparameters under GGUF's names, and no tokenizer. `outputs` has at least one
    of the graph's outputs, such as `logits` `[tokens, vocabulary]`: a row for each of `tokens`. `values` has
    values in between, by the name that `GraphBuilder` gives them (`blk.0.attn_q`), at the positions `rows`:
    float32 `[len(rows), width]`. They locate a difference; they need not be complete.
    """

    model: ModelDescriptor
    tokens: tuple[int, ...]
    outputs: Mapping[str, Array]
    values: Mapping[str, Array] = field(default_factory=dict)
    rows: tuple[int, ...] = ()
    source: str = ""
    """The implementation and its version, for messages: `transformers 5.0.0, Qwen3ForCausalLM`."""
    names: Mapping[str, Any] = field(default_factory=dict)
    """What the recorder used of a family's `HuggingFaceNames`: `model_type`, `architecture`, `tensors` and
    `keys`. Empty if the oracle was not recorded from transformers."""
    types: tuple[int, ...] = ()
    """The type of each token (`Batch.types`); empty: all are 0."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How the oracle was made; the recorder's own arguments, so that it can be recorded again."""

    def __post_init__(self) -> None:
        """Raises `ShapeError` for outputs or values that do not have the right number of rows."""
        if not self.outputs or not self.tokens:
            raise ShapeError("an oracle needs tokens and at least one output")
        if self.types and len(self.types) != len(self.tokens):
            raise ShapeError(f"{len(self.types)} types are not one for each of the {len(self.tokens)} tokens")
        if any(not 0 <= row < len(self.tokens) for row in self.rows):
            raise ShapeError(f"rows {self.rows} are not all of the {len(self.tokens)} tokens")
        for kind, arrays, rows in (
            ("output", self.outputs, len(self.tokens)),
            ("value", self.values, len(self.rows)),
        ):
            for name, array in arrays.items():
                if array.ndim != 2 or len(array) != rows:
                    raise ShapeError(f"{kind} {name} has shape {array.shape}, not {rows} rows")
                if not np.isfinite(array).all():
                    raise ShapeError(f"{kind} {name} has elements that are not finite")

    def save(self, path: Path) -> None:
        """Writes the oracle as a compressed `.npz` file; the same oracle gives the same bytes.

        The file is whole or not written: one that is there stays until then. Raises `FormatError` if it
        cannot be written.
        """
        about = {
            "version": VERSION,
            "architecture": self.model.architecture,
            "name": self.model.name,
            "pairing": self.model.conventions.rope_pairing,
            "hyperparameters": {key: plain(value) for key, value in self.model.hyperparameters.items()},
            "tokens": list(self.tokens),
            "rows": list(self.rows),
            **({"types": list(self.types)} if self.types else {}),
            "source": self.source,
            "names": self.names,
            "settings": self.settings,
        }
        arrays: dict[str, Any] = {"about": np.array(json.dumps(about, ensure_ascii=False))}
        for name, tensor in self.model.tensors.items():
            grid, stored = _gridded(tensor.to_float32())
            arrays[f"tensor {name}"] = stored
            if grid is not None:
                arrays[f"grid {name}"] = np.array(grid, np.float32)
        arrays |= {f"output {name}": array.astype(np.float32) for name, array in self.outputs.items()}
        arrays |= {f"value {name}": array.astype(np.float32) for name, array in self.values.items()}
        part = path.with_name(f"{path.name}.part")
        try:
            with part.open("wb") as file:
                np.savez_compressed(file, **arrays)
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise FormatError(f"{path}: cannot be written: {error.strerror or error}") from error
        except BaseException:  # Ctrl-C
            part.unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: Path) -> Oracle:
        """Reads an oracle. Raises `FormatError` for a file that is not one."""
        if not path.exists():
            raise MissingFileError(f"{path}: there is no such oracle; record it first")
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            about = json.loads(str(arrays["about"]))
            version = about["version"]
            if version == VERSION:
                return cls._from(about, arrays, path)
        except Exception as error:  # of zipfile, zlib, numpy and json, which each raise others
            raise FormatError(
                f"{path}: it is not an oracle: {type(error).__name__}: {error}: record it again"
            ) from error
        raise FormatError(
            f"{path}: its layout is version {quote(version)}, but this code reads {VERSION}: update"
        )

    @classmethod
    def _from(cls, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], path: Path) -> Oracle:
        def named(kind: str) -> dict[str, NDArray[Any]]:
            return {
                name[len(kind) + 1 :]: array for name, array in arrays.items() if name.startswith(kind + " ")
            }

        for key in ("hyperparameters", "names", "settings"):
            if not isinstance(about[key], dict):
                raise FormatError(f"{key} is {quote(about[key])}, but must be an object")
        for key in ("tokens", "rows", "types"):
            given = about.get(key, []) if key == "types" else about[key]
            if not isinstance(given, list) or any(type(each) is not int for each in given):
                raise FormatError(f"{key} is {quote(given)}, but must be an array of whole numbers")
        for key in ("name", "architecture", "source"):
            if not isinstance(about[key], str):
                raise FormatError(f"{key} is {quote(about[key])}, but must be a string")
        if about["pairing"] not in get_args(Pairing):
            raise FormatError(f"pairing is {quote(about['pairing'])}, but must be one of {get_args(Pairing)}")
        grids = named("grid")
        tensors = {
            name: float_tensor(name, stored * grids[name] if name in grids else stored)
            for name, stored in named("tensor").items()
        }
        model = ModelDescriptor(
            name=about["name"],
            architecture=about["architecture"],
            hyperparameters=Hyperparameters(
                about["hyperparameters"], prefix=about["architecture"], source=path.name
            ),
            tensors=tensors,
            conventions=Conventions(rope_pairing=about["pairing"]),
            format="oracle",
        )
        return cls(
            model,
            tuple(about["tokens"]),
            named("output"),
            named("value"),
            tuple(about["rows"]),
            about["source"],
            about["names"],
            tuple(about.get("types", ())),
            about["settings"],
        )


def float_tensor(name: str, values: NDArray[Any]) -> TensorInfo:
    """Returns an F32 tensor with these values, in memory."""
    stored = np.ascontiguousarray(values, np.float32)
    data = stored.reshape(-1).view(np.uint8)
    data.flags.writeable = False
    return TensorInfo(name, stored.shape, DTYPES["F32"], data)


def text_of(vocabulary: int, count: int, seed: int = 0) -> list[int]:
    """Returns random token ids in which a part comes twice, as in texts, so that attention has to copy."""
    random = np.random.RandomState(seed)
    tokens: list[int] = random.randint(0, vocabulary, count).tolist()
    half = count // 3
    tokens[-half:] = tokens[1 : half + 1]
    return tokens


def drawn(initial: Array, random: np.random.RandomState) -> Array:
    """Returns random weights for a parameter whose implementation initialises it with `initial`.

    A vector is that plus a uniform number within ±0.5, so that no bias is 0 and no factor is 1. Any other
    tensor is normal with a standard deviation of 1.5/√columns: products keep their size, and attention has
    scores with a deviation of about 2. All are multiples of a power of two, so that 8 bits store them.
    """
    if initial.ndim < 2:
        moved = initial + random.uniform(-0.5, 0.5, initial.shape)
        return np.asarray(np.rint(moved * 32) / 32 + 0.0, np.float32)  # + 0.0: no negative zeros
    std = 1.5 / np.sqrt(initial.shape[-1])
    grid = 2.0 ** np.ceil(np.log2(4 * std / 127))
    whole: Array = np.clip(np.rint(random.standard_normal(initial.shape) * std / grid), -127, 127)
    return np.asarray(whole * grid + 0.0, np.float32)


def _gridded(values: Array) -> tuple[float | None, NDArray[Any]]:
    """Returns a tensor as int8 with the power of two that they are multiples of; else None and float32."""
    if values.size >= _SMALLEST_GRIDDED:
        most = float(np.abs(values).max())
        for grid in _GRIDS:
            if most <= 127 * grid:
                whole = np.rint(values / np.float32(grid))
                if np.array_equal(whole * np.float32(grid), values):
                    return grid, whole.astype(np.int8)
    return None, values.astype(np.float32)


def plain(value: Any) -> Any:
    """Returns a value as JSON has it: arrays and sequences as lists; what JSON does not have as its text."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
