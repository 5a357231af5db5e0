"""Base class of the conformance suites for formats, and a model on disk that they read and damage."""

from __future__ import annotations

import mmap
import shutil
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import ModelDescriptor, Pairing, TokenizerSpec
from zigai_core.contracts.errors import FormatError, ShapeError, UnsupportedError, ZigAIError
from zigai_core.contracts.plugins import FormatReader
from zigai_core.contracts.tensors import ComputedTensor, TensorInfo
from zigai_core.testing.toys import toy_decoder

REFUSALS = (FormatError, UnsupportedError, ShapeError)
"""The errors with which a reader may refuse a model."""

FOREIGN: Mapping[str, bytes] = {
    "empty": b"",
    "short": b"\x01",
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "text": b"# A model card\n\nThis is no model.\n" * 20,
    "JSON": b'{"model_type": "llama", "hidden_size": 64}\n',
    "GGUF": b"GGUF\x03\0\0\0" + bytes(16) + b"general.architecture",
    "safetensors": (2).to_bytes(8, "little") + b"{}",
    "zip": b"PK\x03\x04\x14\0\0\0\0\0" + bytes(500),
    "pickle": b"\x80\x04\x95\x10\0\0\0\0\0\0\0}\x94.",
    "noise": np.random.RandomState(3).bytes(3000),
}
"""Contents of other formats, by name."""


@dataclass(frozen=True)
class WrittenModel:
    """A model on disk: `root` holds its files and nothing else, `path` is what a reader is given."""

    root: Path
    path: Path

    @property
    def files(self) -> list[Path]:
        """All regular files, sorted."""
        return sorted(each for each in self.root.rglob("*") if each.is_file())

    def copied(self, root: Path) -> WrittenModel:
        """Returns a copy in a new folder."""
        shutil.copytree(self.root, root)
        return WrittenModel(root, root / self.path.relative_to(self.root))

    def linked(self, folder: Path) -> list[WrittenModel]:
        """Returns the model behind a link to its folder, and in a folder of links to its files."""
        behind, beside = folder / "link", folder / "links"
        behind.symlink_to(self.root, target_is_directory=True)
        for file in self.files:
            link = beside / file.relative_to(self.root)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
        return [WrittenModel(root, root / self.path.relative_to(self.root)) for root in (behind, beside)]

    def named(self, text: str) -> bool:
        """True if `text` has the path of the model, or that of one of its files."""
        return any(str(each) in text for each in {self.path, *self.root.rglob("*")})


class FormatSuite:
    """Base class of a suite of tests for a format: what the contributor sets, and helpers.

    `reader` is the format's class. `write` and `toy` say what is read; all other settings have defaults.
    """

    reader: ClassVar[Callable[[], FormatReader]]
    entry_point: ClassVar[str] = ""
    """The name in the group `zigai.formats` under which the package registers `reader`; empty: not tested."""
    pairing: ClassVar[Pairing] = "half"
    """The pairing of RoPE of the models that are written."""
    recognises_also: ClassVar[frozenset[str]] = frozenset()
    """Names of `FOREIGN` that are of this format, too."""
    cuts: ClassVar[int] = 1000
    """Number of places in headers at which files are cut short: at every byte, if there are no more."""
    mutations: ClassVar[int] = 300
    """Number of random changes of each kind to the files of a model."""
    first_bytes: ClassVar[int] = 24
    """Bytes at the start of a file in which every bit is flipped and every word overwritten."""
    spare_memory: ClassVar[int] = 64 << 20
    """Bytes that reading may allocate, in addition to twice the bytes of the files."""
    error_characters: ClassVar[int] = 500
    """Maximum length of an error, in addition to that of a path."""
    recognising_bytes: ClassVar[int] = 1 << 20
    """Maximum of bytes that `recognises` reads or allocates."""

    def write(self, model: ModelDescriptor, path: Path) -> Path:
        """Writes a model and returns the path to read: a file or a folder.

        `path` does not exist, its parent is an empty folder, to which a file's suffix or further files may be
        added.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method write(model, path)")

    def toy(self, hidden: int = 12) -> ModelDescriptor:
        """Returns the model to write, which must be read as it is; `hidden` is the width of its layers.

        Override it to leave out what the format does not store: `replace(super().toy(hidden),
        tokenizer=None)`.
        """
        sizes: dict[str, Any] = {"width": 8, "heads": 2, "kv_heads": 1, "vocabulary": 259, "context": 64}
        model = toy_decoder(pairing=self.pairing, hidden=hidden, **sizes)
        names = ["token_embd.weight", "output.weight"]
        few = {name: cut_rows(model.tensors[name], 8) for name in names}
        values = {**dict(model.hyperparameters.items()), "vocab_size": 8}
        hyperparameters = model.hyperparameters.replaced(**values)
        return replace(
            model,
            tensors={**model.tensors, **few},
            tokenizer=small_vocabulary(),
            hyperparameters=hyperparameters,
        )

    def damaged(self, path: Path) -> Iterable[tuple[str, Path]]:
        """Yields hostile models of the format's own: what is wrong, and the path to read.

        `path` is as for `write`, and may be used again for each. Every one must be refused.
        """
        return ()

    def _read(self, path: Path) -> ModelDescriptor:
        """Returns what is read of a model that is not damaged."""
        try:
            return type(self).reader().read(path)
        except Exception as error:
            raise AssertionError(f"a sound model was refused: {type(error).__name__}: {error}") from error

    def _recognises(self, path: Path) -> bool:
        """Returns what `recognises` does, after checking that it is a boolean and not an exception."""
        try:
            found = type(self).reader().recognises(path)
        except Exception as error:
            raise AssertionError(f"{path}: recognises raised {type(error).__name__}: {error}") from error
        assert isinstance(found, bool), f"{path}: recognises returned {found!r}, which is not a boolean"
        return found

    def _written(self, folder: Path, hidden: int = 12, name: str = "model") -> WrittenModel:
        root = folder / "written"
        root.mkdir(parents=True)
        return WrittenModel(root, self.write(self.toy(hidden), root / name))

    def _counts(self, written: WrittenModel) -> tuple[int, int]:
        """Returns `mutations` and `first_bytes` for each file of a model."""
        files = len(written.files)
        return max(self.mutations // files, 4), max(self.first_bytes // files, 4)

    def _refusal(self, model: WrittenModel, what: str) -> ZigAIError | None:
        """Reads a damaged model: returns the error that refuses it, None if it was read.

        Checks the kind and the text of the error, the descriptor, and the memory. tracemalloc must run.
        """
        size = sum(each.stat().st_size for each in model.files)
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        read = refusal = None
        try:
            read = type(self).reader().read(model.path)
        except REFUSALS as error:
            refusal = error
        except Exception as error:
            raise AssertionError(f"{what}: reading raised {type(error).__name__}: {error}") from error
        used = tracemalloc.get_traced_memory()[1] - before
        allowed = 2 * size + self.spare_memory
        assert used <= allowed, f"{what}: {used} bytes were allocated, more than {allowed}"
        if read is not None:
            check_consistent(read, what)
        if refusal is not None:
            self._check_error(refusal, model, what)
        return refusal

    def _check_error(self, error: ZigAIError, model: WrittenModel, what: str) -> None:
        text = str(error)
        assert model.named(text), f"{what}: the error names neither the path nor a file: {text}"
        assert text.isprintable(), f"{what}: the error has control characters: {text!r}"
        longest = self.error_characters + max(len(str(each)) for each in (model.path, *model.files))
        assert len(text) <= longest, f"{what}: the error has {len(text)} characters, more than {longest}"


def check_consistent(model: ModelDescriptor, what: str) -> None:
    """Asserts that the parts of a descriptor agree; reads every byte of tensors that are not computed."""
    for name, tensor in model.tensors.items():
        where = f"{what}: tensor {name!r}"
        assert tensor.name == name, f"{where} has the name {tensor.name!r}"
        assert isinstance(tensor.shape, tuple), f"{where} has shape {tensor.shape!r}, which is no tuple"
        sizes = [type(size) is int and size >= 1 for size in tensor.shape]
        assert all(sizes), f"{where} has shape {tensor.shape!r}, not whole numbers of at least 1"
        expected = tensor.dtype.nbytes(tensor.shape)
        assert tensor.nbytes == expected, f"{where} has {tensor.nbytes} bytes, its shape takes {expected}"
        if isinstance(tensor, ComputedTensor):
            continue
        data = tensor.data
        sound = data.dtype == np.dtype(np.uint8) and data.ndim == 1
        assert sound, f"{where}: data is {data.dtype} of shape {data.shape}"
        assert data.strides == (1,), f"{where}: data has strides {data.strides}"
        assert not data.flags.writeable, f"{where}: data can be written to"
        data.sum()  # ends the process if the bytes are not in the file
    if model.tokenizer is not None:
        _check_vocabulary(model.tokenizer, what)


def _check_vocabulary(spec: TokenizerSpec, what: str) -> None:
    count = len(spec.tokens)
    assert all(isinstance(token, str) for token in spec.tokens), f"{what}: a token is not text"
    for field in ("scores", "types"):
        values = getattr(spec, field)
        assert values is None or values.shape == (count,), f"{what}: {field} are not {count} numbers"
    ids = {*spec.special_ids.values(), *spec.end_ids}
    assert all(0 <= each < count for each in ids), f"{what}: special ids {ids} of {count} tokens"


def is_mapped(array: NDArray[np.uint8]) -> bool:
    """True if an array is a view of a mapped file."""
    base: Any = array
    while base is not None:
        if isinstance(base, mmap.mmap):
            return True
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return False


def overwrite(file: Path, content: bytes) -> None:
    """Replaces a file's content. A file that is first emptied is flushed to the disk by some file systems."""
    with file.open("r+b") as opened:
        opened.write(content)
        opened.truncate()


def cut_rows(tensor: TensorInfo, rows: int) -> TensorInfo:
    """Returns the first rows of a matrix."""
    return replace(tensor, shape=(rows, *tensor.shape[1:]), data=tensor.row_data(0, rows))


def small_vocabulary() -> TokenizerSpec:
    """Returns a vocabulary of eight tokens of the kind `llama`."""
    return TokenizerSpec(
        kind="llama",
        tokens=["<unk>", "<s>", "</s>", "<0x0A>", "▁the", "é", "▁a▁b", "1"],
        scores=np.array([0, 0, 0, 0, -1, -2.5, -3, -4], np.float32),
        types=np.array([2, 3, 3, 6, 1, 1, 1, 1], np.int32),
        special_ids={"unknown": 0, "bos": 1, "eos": 2},
        end_ids=frozenset({2}),
        add_bos=True,
    )


@contextmanager
def traced() -> Iterator[None]:
    """Traces memory in a block."""
    running = tracemalloc.is_tracing()
    if not running:
        tracemalloc.start()
    try:
        yield
    finally:
        if not running:
            tracemalloc.stop()
