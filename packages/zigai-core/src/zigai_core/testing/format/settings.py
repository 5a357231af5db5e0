"""Settings of the conformance suites for formats: what a contributor sets, and what their tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from zigai_core.contracts.descriptor import ModelDescriptor, Pairing
from zigai_core.contracts.errors import FormatError, ShapeError, UnsupportedError, ZigAIError
from zigai_core.contracts.plugins import FormatReader
from zigai_core.testing.format.consistency import check_consistent
from zigai_core.testing.format.toy_model import OPTIONAL, PAIRINGS, STORED_AS, toy_model
from zigai_core.testing.format.written_model import WrittenModel
from zigai_core.testing.memory import PeakMemory

REFUSALS = (FormatError, UnsupportedError, ShapeError)
"""The errors with which a reader may refuse a model."""


class FormatSuite:
    """Base class of a suite of tests for a format: what the contributor sets, and helpers.

    `reader` is the format's class. `write` and `toy` say what is read; all other settings have defaults.
    """

    reader: ClassVar[Callable[[], FormatReader]]
    entry_point: ClassVar[str] = ""
    """The name in the group `zigai.formats` under which the package registers `reader`; empty: not tested."""
    pairing: ClassVar[Pairing | None] = None
    """The pairing of RoPE, if the format stores models of one only; None: both are written and read."""
    storage_types: ClassVar[frozenset[str]] = frozenset({"F32", "F16", "BF16", "Q8_0"})
    """Storage types of the tensors that are written, of these four: those that the format has."""
    not_stored: ClassVar[frozenset[str]] = frozenset()
    """Fields of the descriptor that the format has no place for, of `tokenizer`, `chat_template`, `metadata`
    and `sampling`: they are not written, and must be read as empty."""
    recognises_also: ClassVar[frozenset[str]] = frozenset()
    """Names of `foreign.FOREIGN` that are of this format, too."""
    cuts: ClassVar[int] = 1000
    """Number of places at which files are cut short, of all bytes that are no tensor's data: at every one, if
    there are no more."""
    changes: ClassVar[int] = 300
    """Number of random changes of each kind to the files of a model, outside of their tensors' data."""
    first_bytes: ClassVar[int] = 24
    """Bytes at the start of a file, tensors' data left out, in which every bit is flipped and every word
    overwritten."""
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

        It has nothing that is declared in `not_stored`. Override it for what the format stores in another
        form, or to add tensors: `replace(super().toy(hidden), metadata={"author": "me"})`.
        """
        for setting, known in (
            ("not_stored", OPTIONAL.keys()),
            ("storage_types", {"F32", *STORED_AS.values()}),
        ):
            unknown = getattr(self, setting) - known
            assert not unknown, f"{setting} names {sorted(unknown)}; there are {', '.join(sorted(known))}"
        empty = {field: OPTIONAL[field] for field in self.not_stored}
        return replace(toy_model(hidden, self.pairing or PAIRINGS[0], self.storage_types), **empty)

    def damaged(self, path: Path) -> Iterable[tuple[str, Path] | tuple[str, Path, str]]:
        """Yields hostile models of the format's own: what is wrong, the path to read, a part of the error.

        The third is optional: with it, a model that is refused for another reason fails the test.
        `path` is as for `write`, and may be used again for each. Every one must be refused. The test is
        skipped if there are none.
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

    def _written(self, folder: Path, hidden: int = 12, model: ModelDescriptor | None = None) -> WrittenModel:
        root = folder / "written"
        root.mkdir(parents=True)
        return WrittenModel(root, self.write(model or self.toy(hidden), root / "model"))

    def _counts(self, written: WrittenModel) -> tuple[int, int]:
        """Returns `changes` and `first_bytes` for each file of a model."""
        files = len(written.files)
        return max(self.changes // files, 4), max(self.first_bytes // files, 4)

    def _refusal(self, model: WrittenModel, what: str) -> ZigAIError | None:
        """Reads a damaged model: returns the error that refuses it, None if it was read.

        Checks the kind and the text of the error, the descriptor, and the memory.
        """
        size = sum(each.stat().st_size for each in model.files)
        read = refusal = None
        with PeakMemory() as peak:
            try:
                read = type(self).reader().read(model.path)
            except REFUSALS as error:
                refusal = error
            except Exception as error:
                raise AssertionError(f"{what}: reading raised {type(error).__name__}: {error}") from error
        used = peak.nbytes
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
