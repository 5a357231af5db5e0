"""The suite for formats passes a sound reader, and finds each of many planted faults."""

from __future__ import annotations

import json
import re
import struct
import unittest
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from zigai_core.contracts.descriptor import (
    Conventions,
    Hyperparameters,
    ModelDescriptor,
    TensorInfo,
    TokenizerSpec,
)
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import FormatError, SamplingError, ShapeError, UnsupportedError, quote
from zigai_core.contracts.mapped_file import MappedFile
from zigai_core.contracts.options import SamplingOptions
from zigai_core.testing.format import FormatConformance, corruptions
from zigai_core.testing.format.place import Place

MAGIC = b"TOY1"


class Toy:
    """A format of one file: `TOY1`, a header's length in four bytes, the header as JSON, the tensors.

    The methods are those that the faulty readers below override.
    """

    def recognises(self, path: Path) -> bool:
        try:
            if not path.is_file():
                return False
            with path.open("rb") as file:
                return file.read(4) == MAGIC
        except (OSError, ValueError):
            return False

    def read(self, path: Path) -> ModelDescriptor:
        file = MappedFile(path)
        header, begin = self.header(file, path)
        try:
            return self.descriptor(file, path, header, begin)
        except (KeyError, TypeError, ValueError, OverflowError, ShapeError) as error:
            raise self.damaged(path, error) from error

    def damaged(self, path: Path, error: Exception) -> Exception:
        return FormatError(f"{path}: the header is damaged: {type(error).__name__} {quote(str(error))}")

    def header(self, file: MappedFile, path: Path) -> tuple[Any, int]:
        memory = file.memory
        if len(memory) < 8 or memory[:4] != MAGIC:
            raise FormatError(f"{path}: byte 0: is not {MAGIC!r} and a length")
        length = struct.unpack("<I", memory[4:8])[0]
        self.check_length(path, length, len(memory) - 8)
        return self.parsed(path, memory[8 : 8 + length]), 8 + length

    def check_length(self, path: Path, length: int, left: int) -> None:
        if length > left:
            raise FormatError(f"{path}: byte 4: a header of {length} bytes in a file of {left + 8}")

    def parsed(self, path: Path, text: bytes) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{path}: the header is not JSON: {quote(str(error))}") from error

    def descriptor(self, file: MappedFile, path: Path, header: Any, begin: int) -> ModelDescriptor:
        architecture = header["architecture"]
        if not isinstance(architecture, str):
            raise FormatError(f"{path}: architecture is {quote(architecture)}")
        tensors = {}
        for name, kind, shape in header["tensors"]:
            if name in tensors:
                raise FormatError(f"{path}: tensor {quote(name)} occurs twice")
            tensors[name] = self.tensor(file, path, (name, kind, shape), begin)
            begin += tensors[name].nbytes
        hyperparameters = Hyperparameters(
            dict(header["hyperparameters"]), prefix=architecture, source=str(path)
        )
        return ModelDescriptor(
            name=path.stem,
            architecture=architecture,
            hyperparameters=hyperparameters,
            tensors=tensors,
            tokenizer=self.vocabulary(path, header["vocabulary"]),
            **self.optional(path, header),
            conventions=self.conventions(path, header["pairing"]),
            format="toy 1",
            path=path,
        )

    def conventions(self, path: Path, pairing: Any) -> Conventions:
        if pairing not in ("half", "adjacent"):
            raise FormatError(f"{path}: pairing is {quote(pairing)}")
        return Conventions(rope_pairing=pairing)

    def tensor(self, file: MappedFile, path: Path, entry: tuple[Any, Any, Any], begin: int) -> TensorInfo:
        name, kind, shape = entry
        if not isinstance(name, str) or not isinstance(kind, str) or kind not in DTYPES:
            raise UnsupportedError(f"{path}: tensor {quote(name)} is stored as {quote(kind)}")
        if not all(type(size) is int and size >= 1 for size in shape):
            raise FormatError(f"{path}: tensor {quote(name)} has shape {quote(shape)}")
        self.check_end(path, name, begin + DTYPES[kind].nbytes(tuple(shape)), len(file.memory))
        return file.tensor(name, tuple(shape), DTYPES[kind], begin, DTYPES[kind].nbytes(tuple(shape)))

    def optional(self, path: Path, header: Any) -> dict[str, Any]:
        template, metadata, sampling = header["template"], header["metadata"], header["sampling"]
        right = isinstance(template, str) and isinstance(metadata, dict) and isinstance(sampling, dict)
        if not right:
            raise FormatError(f"{path}: template, metadata or sampling is damaged")
        try:
            SamplingOptions(**sampling)
        except (SamplingError, TypeError) as error:
            raise FormatError(f"{path}: {quote(str(error))}") from error
        return {"chat_template": template, "metadata": metadata, "sampling": sampling}

    def check_end(self, path: Path, name: str, end: int, size: int) -> None:
        if end > size:
            raise FormatError(f"{path}: tensor {quote(name)} ends at byte {end} of {size}")

    def vocabulary(self, path: Path, stored: Any) -> TokenizerSpec:
        tokens, scores = stored["tokens"], stored["scores"]
        if not all(isinstance(token, str) for token in tokens) or len(scores) != len(tokens):
            raise FormatError(f"{path}: the vocabulary is damaged")
        ids = {role: int(token) for role, token in stored["special_ids"].items()}
        if not all(0 <= token < len(tokens) for token in ids.values()):
            raise FormatError(f"{path}: special ids are {quote(list(ids.values()))} of {len(tokens)} tokens")
        settings = {key: bool(stored[key]) for key in ("add_bos", "add_space_prefix")}
        return TokenizerSpec("llama", tokens, np.array(scores, np.float32), special_ids=ids, **settings)


class Indexed(Toy):
    """With an index after the tensors: their number, in braces."""

    def read(self, path: Path) -> ModelDescriptor:
        model = super().read(path)
        self.check_index(path, MappedFile(path).memory[-INDEX:], len(model.tensors))
        return model

    def check_index(self, path: Path, index: bytes, count: int) -> None:
        if index[:4] != b'{"n"' or index != INDEXED % count:
            raise FormatError(f"{path}: the index at the end is {quote(index)}")


INDEXED = b'{"n": %2d}'
INDEX = len(INDEXED % 0)


def write_toy(path: Path, model: ModelDescriptor, tensors: list[Any] | None = None) -> None:
    """Writes a file, in which `tensors` may take the place of the list in the header."""
    assert model.tokenizer is not None
    assert model.tokenizer.scores is not None
    listed = [[name, each.dtype.name, each.shape] for name, each in model.tensors.items()]
    header = {
        "architecture": model.architecture,
        "hyperparameters": dict(model.hyperparameters.items()),
        "tensors": listed if tensors is None else tensors,
        "vocabulary": {
            "tokens": model.tokenizer.tokens,
            "scores": model.tokenizer.scores.tolist(),
            "special_ids": model.tokenizer.special_ids,
            "add_bos": model.tokenizer.add_bos,
            "add_space_prefix": model.tokenizer.add_space_prefix,
        },
        "pairing": model.conventions.rope_pairing,
        "template": model.chat_template,
        "metadata": model.metadata,
        "sampling": model.sampling,
    }
    text = json.dumps(header).encode()
    data = b"".join(each.data.tobytes() for each in model.tensors.values())
    path.write_bytes(MAGIC + struct.pack("<I", len(text)) + text + data)


class TestToy(FormatConformance):
    reader: ClassVar[Any] = Toy

    def write(self, model: ModelDescriptor, path: Path) -> Path:
        path = path.with_suffix(".toy")
        write_toy(path, model)
        return path

    def toy(self, hidden: int = 12) -> ModelDescriptor:
        model = super().toy(hidden)
        if model.tokenizer is None:
            return model
        # The format has no types of tokens, and nothing that ends a reply.
        tokenizer = replace(model.tokenizer, types=None, end_ids=frozenset())
        return replace(model, tokenizer=tokenizer)

    def damaged(self, path: Path) -> Iterable[tuple[str, Path] | tuple[str, Path, str]]:
        model = self.toy()
        entry = ["a", "F32", [2]]
        write_toy(path, model, [entry, entry])
        yield "a name twice", path, "tensor 'a' occurs twice"
        write_toy(path, model, [["a", "F32", [0]]])
        yield "a size of zero", path


class TestIndexed(TestToy):
    reader: ClassVar[Any] = Indexed

    def write(self, model: ModelDescriptor, path: Path) -> Path:
        path = super().write(model, path)
        with path.open("ab") as file:
            file.write(INDEXED % len(model.tensors))
        return path

    def damaged(self, path: Path) -> Iterable[tuple[str, Path] | tuple[str, Path, str]]:
        return ()


# The planted faults.


class LetsErrorsOfTheIndexEscape(Indexed):
    def check_index(self, path: Path, index: bytes, count: int) -> None:
        if index != INDEXED % count:
            raise KeyError("n")


class RecognisesEverything(Toy):
    def recognises(self, path: Path) -> bool:
        return path.is_file()


class RecognisesFolders(Toy):
    def recognises(self, path: Path) -> bool:
        return path.is_dir() or super().recognises(path)


class RecognisesByName(Toy):
    def recognises(self, path: Path) -> bool:
        return path.suffix == ".toy"


class RecognisesNothing(Toy):
    def recognises(self, path: Path) -> bool:
        return super().recognises(path) and path.is_relative_to("/nowhere")


class RaisesForPathsThatCannotBeOpened(Toy):
    def recognises(self, path: Path) -> bool:
        with path.open("rb") as file:
            return file.read(4) == MAGIC


class RaisesForShortFiles(Toy):
    def recognises(self, path: Path) -> bool:
        with path.open("rb") as file:
            return struct.unpack("<4s", file.read(4))[0] == MAGIC


class ReadsAllToRecognise(Toy):
    def recognises(self, path: Path) -> bool:
        return path.read_bytes()[:4] == MAGIC


class CopiesAllData(Toy):
    def tensor(self, file: MappedFile, path: Path, entry: tuple[Any, Any, Any], begin: int) -> TensorInfo:
        tensor = super().tensor(file, path, entry, begin)
        data = tensor.data.copy()
        data.flags.writeable = False
        return TensorInfo(tensor.name, tensor.shape, tensor.dtype, data)


class AllocatesByLength(Toy):
    def check_length(self, path: Path, length: int, left: int) -> None:
        bytearray(length)
        super().check_length(path, length, left)


class TrustsTheLength(Toy):
    def check_length(self, path: Path, length: int, left: int) -> None:
        np.empty(1, np.uint8)[: max(0, left - length)]
        if length > left:
            raise struct.error(f"unpack requires a buffer of {length} bytes")


class LetsErrorsOfTheHeaderEscape(Toy):
    def damaged(self, path: Path, error: Exception) -> Exception:
        return error


class LetsNestingEscape(Toy):
    def parsed(self, path: Path, text: bytes) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise FormatError(f"{path}: the header is not JSON") from error


class DoesNotCheckTheEnd(Toy):
    def tensor(self, file: MappedFile, path: Path, entry: tuple[Any, Any, Any], begin: int) -> TensorInfo:
        name, kind, shape = entry
        end = begin + DTYPES[kind].nbytes(tuple(shape))
        data = np.frombuffer(file.memory, np.uint8)[begin:end]
        return TensorInfo(name, tuple(shape), DTYPES[kind], data)


class ReadsPartsOfTensors(Toy):
    def tensor(self, file: MappedFile, path: Path, entry: tuple[Any, Any, Any], begin: int) -> TensorInfo:
        name, kind, shape = entry
        nbytes = min(DTYPES[kind].nbytes(tuple(shape)), len(file.memory) - begin)
        return file.tensor(name, tuple(shape), DTYPES[kind], begin, nbytes)


class RefusesNamesTwiceForAnotherReason(Toy):
    def damaged(self, path: Path, error: Exception) -> Exception:
        return FormatError(f"{path}: the header is damaged")

    def descriptor(self, file: MappedFile, path: Path, header: Any, begin: int) -> ModelDescriptor:
        if len({each[0] for each in header["tensors"]}) < len(header["tensors"]):
            raise KeyError("shape")
        return super().descriptor(file, path, header, begin)


class NamesNoPath(Toy):
    def check_length(self, path: Path, length: int, left: int) -> None:
        if length > left:
            raise FormatError(f"byte 4: a header of {length} bytes, but {left} are left")


class RepeatsTheHeader(Toy):
    def parsed(self, path: Path, text: bytes) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{path}: is not JSON: {text!r}") from error


class TransposesShapes(Toy):
    def tensor(self, file: MappedFile, path: Path, entry: tuple[Any, Any, Any], begin: int) -> TensorInfo:
        tensor = super().tensor(file, path, entry, begin)
        return replace(tensor, shape=tensor.shape[::-1])


class TakesBF16ForF16(Toy):
    def tensor(self, file: MappedFile, path: Path, entry: tuple[Any, Any, Any], begin: int) -> TensorInfo:
        name, kind, shape = entry
        return super().tensor(file, path, (name, "F16" if kind == "BF16" else kind, shape), begin)


class GivesBlocksAsShape(Toy):
    """The columns of a quantised tensor are those of its blocks; the bytes are right."""

    def tensor(self, file: MappedFile, path: Path, entry: tuple[Any, Any, Any], begin: int) -> TensorInfo:
        tensor = super().tensor(file, path, entry, begin)
        shape = *tensor.shape[:-1], tensor.shape[-1] // tensor.dtype.block_size
        return tensor if tensor.dtype.block_size == 1 else replace(tensor, shape=shape)


class ReadsFloatsOnly(Toy):
    def tensor(self, file: MappedFile, path: Path, entry: tuple[Any, Any, Any], begin: int) -> TensorInfo:
        if entry[1] == "Q8_0":
            raise UnsupportedError(f"{path}: tensor {quote(entry[0])} is stored as Q8_0")
        return super().tensor(file, path, entry, begin)


class IsOffByOneByte(Toy):
    def tensor(self, file: MappedFile, path: Path, entry: tuple[Any, Any, Any], begin: int) -> TensorInfo:
        return super().tensor(file, path, entry, begin - 1)


class GivesWritableData(Toy):
    def tensor(self, file: MappedFile, path: Path, entry: tuple[Any, Any, Any], begin: int) -> TensorInfo:
        tensor = super().tensor(file, path, entry, begin)
        data = np.memmap(path, np.uint8, "r+", begin, (tensor.nbytes,))
        return replace(tensor, data=data)


class GivesFloats(Toy):
    def tensor(self, file: MappedFile, path: Path, entry: tuple[Any, Any, Any], begin: int) -> TensorInfo:
        tensor = super().tensor(file, path, entry, begin)
        data: Any = np.frombuffer(file.memory, "<f4", tensor.nbytes // 4, begin)
        return replace(tensor, data=data)


class HasNoCheck(Toy):
    def tensor(self, file: MappedFile, path: Path, entry: tuple[Any, Any, Any], begin: int) -> TensorInfo:
        return replace(super().tensor(file, path, entry, begin), check=None)


class ReadsOtherBytes(Toy):
    def tensor(self, file: MappedFile, path: Path, entry: tuple[Any, Any, Any], begin: int) -> TensorInfo:
        tensor = super().tensor(file, path, entry, begin)
        return replace(tensor, read=lambda first, count: tensor.data[:count].copy())


class IdentifiesByPath(Toy):
    def tensor(self, file: MappedFile, path: Path, entry: tuple[Any, Any, Any], begin: int) -> TensorInfo:
        return replace(super().tensor(file, path, entry, begin), identity=f"{path} {begin}")


class IdentifiesFilesOnly(Toy):
    def tensor(self, file: MappedFile, path: Path, entry: tuple[Any, Any, Any], begin: int) -> TensorInfo:
        return replace(super().tensor(file, path, entry, begin), identity=file.identity)


class IdentifiesByCounting(Toy):
    count = 0

    def tensor(self, file: MappedFile, path: Path, entry: tuple[Any, Any, Any], begin: int) -> TensorInfo:
        IdentifiesByCounting.count += 1
        return replace(super().tensor(file, path, entry, begin), identity=f"{file.identity} {self.count}")


class ReleasesForGood(Toy):
    def tensor(self, file: MappedFile, path: Path, entry: tuple[Any, Any, Any], begin: int) -> TensorInfo:
        tensor = super().tensor(file, path, entry, begin)
        data = tensor.data.copy()

        def release() -> None:
            data.flags.writeable = True
            data[:] = 0

        return replace(tensor, data=data, release=release)


def changes(**values: Any) -> type[Toy]:
    """Returns a reader that gets some fields of the descriptor wrong; a function gets the right value."""

    class Changes(Toy):
        def read(self, path: Path) -> ModelDescriptor:
            model = super().read(path)
            found = {
                key: each(getattr(model, key)) if callable(each) else each for key, each in values.items()
            }
            return replace(model, **found)

    return Changes


class FollowsNoLinks(Toy):
    def read(self, path: Path) -> ModelDescriptor:
        if path.is_symlink() or path.parent.is_symlink():
            raise FormatError(f"{path}: is a link")
        return super().read(path)


class ReadsASCIINamesOnly(Toy):
    def read(self, path: Path) -> ModelDescriptor:
        return super().read(Path(str(path).encode("ascii", "replace").decode()))


class OpensAgainByName(Toy):
    def tensor(self, file: MappedFile, path: Path, entry: tuple[Any, Any, Any], begin: int) -> TensorInfo:
        tensor = super().tensor(file, path, entry, begin)

        def read(first: int, count: int) -> Any:
            return np.fromfile(path, np.uint8, count, offset=begin + first)

        return replace(tensor, read=read)


class OpensWithoutACheck(Toy):
    def read(self, path: Path) -> ModelDescriptor:
        path.stat()
        return super().read(path)


class ReadsNoMagic(Toy):
    def header(self, file: MappedFile, path: Path) -> tuple[Any, int]:
        if file.memory[:4] in (MAGIC, b"GGUF"):
            return super().header(file, path)
        raise LookupError("no reader for this magic")


class TakesNamesTwice(Toy):
    def descriptor(self, file: MappedFile, path: Path, header: Any, begin: int) -> ModelDescriptor:
        header["tensors"] = [*{each[0]: each for each in header["tensors"]}.values()]
        return super().descriptor(file, path, header, begin)


class NeedsArguments(Toy):
    def __init__(self, options: Any) -> None:
        self.options = options


class Unregistered(FormatConformance):
    reader: ClassVar[Any] = Toy
    entry_point = "gguf_of_nobody"


FAULTS: list[tuple[type[Toy], str]] = [
    (RecognisesNothing, "test_its_own_model_is_recognised"),
    (RecognisesEverything, "test_files_of_other_formats_are_not_recognised"),
    (RecognisesByName, "test_files_of_other_formats_are_not_recognised"),
    (RecognisesByName, "test_folders_of_other_files_are_not_recognised"),
    (RecognisesFolders, "test_folders_of_other_files_are_not_recognised"),
    (RecognisesByName, "test_what_cannot_be_read_is_not_recognised"),
    (RaisesForPathsThatCannotBeOpened, "test_what_cannot_be_read_is_not_recognised"),
    (RaisesForShortFiles, "test_recognition_of_damaged_models_raises_nothing"),
    (ReadsAllToRecognise, "test_recognition_reads_few_bytes_of_a_large_model"),
    (TransposesShapes, "test_tensors_are_those_that_were_written"),
    (TakesBF16ForF16, "test_tensors_are_those_that_were_written"),
    (GivesBlocksAsShape, "test_tensors_are_those_that_were_written"),
    (ReadsFloatsOnly, "test_tensors_are_those_that_were_written"),
    (IsOffByOneByte, "test_tensors_are_those_that_were_written"),
    (
        changes(hyperparameters=lambda hp: hp.replaced(block_count=3)),
        "test_architecture_and_hyperparameters_are_those_that_were_written",
    ),
    (changes(architecture="toy"), "test_architecture_and_hyperparameters_are_those_that_were_written"),
    (
        changes(hyperparameters=lambda hp: Hyperparameters(dict(hp.items()))),
        "test_the_error_for_a_missing_hyperparameter_names_the_file",
    ),
    (changes(tokenizer=None), "test_the_vocabulary_is_the_one_that_was_written"),
    (
        changes(tokenizer=lambda spec: replace(spec, tokens=spec.tokens[::-1])),
        "test_the_vocabulary_is_the_one_that_was_written",
    ),
    (
        changes(tokenizer=lambda spec: replace(spec, scores=spec.scores.astype(np.float64))),
        "test_the_vocabulary_is_the_one_that_was_written",
    ),
    (
        changes(tokenizer=lambda spec: replace(spec, add_space_prefix=True)),
        "test_the_vocabulary_is_the_one_that_was_written",
    ),
    (
        changes(tokenizer=lambda spec: replace(spec, add_bos=False)),
        "test_the_vocabulary_is_the_one_that_was_written",
    ),
    (
        changes(tensors=lambda found: {key: each for key, each in found.items() if ".bias" not in key}),
        "test_tensors_are_those_that_were_written",
    ),
    (changes(chat_template=None), "test_the_chat_template_is_the_one_that_was_written"),
    (
        changes(chat_template=lambda text: text.encode("ascii", "replace").decode()),
        "test_the_chat_template_is_the_one_that_was_written",
    ),
    (changes(metadata={}), "test_the_metadata_has_what_was_written"),
    (
        changes(metadata=lambda found: {key: str(value).lower() for key, value in found.items()}),
        "test_the_metadata_has_what_was_written",
    ),
    (changes(sampling={}), "test_the_sampling_defaults_are_those_that_were_written"),
    (
        changes(sampling=lambda found: {**found, "min_p": 0.1}),
        "test_the_sampling_defaults_are_those_that_were_written",
    ),
    (
        changes(sampling=lambda found: {**found, "top_k": 40}),
        "test_the_sampling_defaults_are_those_that_were_written",
    ),
    (changes(conventions=Conventions("adjacent")), "test_the_pairing_of_rope_is_the_one_that_was_written"),
    (changes(conventions=Conventions()), "test_the_pairing_of_rope_is_the_one_that_was_written"),
    (changes(path=None), "test_the_descriptor_names_model_format_and_files"),
    (changes(name="a\nb"), "test_the_descriptor_names_model_format_and_files"),
    (GivesWritableData, "test_tensor_data_is_read_only_bytes_of_the_exact_size"),
    (GivesFloats, "test_tensor_data_is_read_only_bytes_of_the_exact_size"),
    (ReadsOtherBytes, "test_tensor_data_is_read_only_bytes_of_the_exact_size"),
    (CopiesAllData, "test_tensors_are_mapped_and_not_copied"),
    (IdentifiesByCounting, "test_reading_twice_gives_the_same"),
    (IdentifiesByPath, "test_an_identity_is_of_one_tensor_and_one_state_of_a_file"),
    (IdentifiesFilesOnly, "test_an_identity_is_of_one_tensor_and_one_state_of_a_file"),
    (HasNoCheck, "test_a_file_cut_short_while_in_use_is_a_format_error"),
    (OpensAgainByName, "test_a_file_cut_short_while_in_use_is_a_format_error"),
    (ReadsASCIINamesOnly, "test_names_with_spaces_and_letters_of_other_scripts_are_read"),
    (OpensAgainByName, "test_a_relative_path_is_read_and_stays_usable_in_another_folder"),
    (FollowsNoLinks, "test_links_are_read"),
    (ReleasesForGood, "test_released_data_is_read_again"),
    (DoesNotCheckTheEnd, "test_a_model_cut_short_at_any_byte_is_refused"),
    (ReadsPartsOfTensors, "test_a_model_cut_short_at_any_byte_is_refused"),
    (NamesNoPath, "test_a_model_cut_short_at_any_byte_is_refused"),
    (RepeatsTheHeader, "test_flipped_bits_end_in_an_error_or_a_sound_model"),
    (LetsErrorsOfTheHeaderEscape, "test_flipped_bits_end_in_an_error_or_a_sound_model"),
    (AllocatesByLength, "test_extreme_numbers_in_words_end_in_an_error_or_a_sound_model"),
    (TrustsTheLength, "test_extreme_numbers_in_words_end_in_an_error_or_a_sound_model"),
    (LetsNestingEscape, "test_extreme_numbers_in_text_end_in_an_error_or_a_sound_model"),
    (LetsErrorsOfTheHeaderEscape, "test_extreme_numbers_in_text_end_in_an_error_or_a_sound_model"),
    (OpensWithoutACheck, "test_a_model_without_one_of_its_files_is_refused"),
    (ReadsNoMagic, "test_contents_of_other_formats_are_refused"),
    (RefusesNamesTwiceForAnotherReason, "test_hostile_models_of_the_format_are_refused"),
    (TakesNamesTwice, "test_hostile_models_of_the_format_are_refused"),
    (NeedsArguments, "test_the_class_gives_readers_without_arguments"),
    (changes(tensors={}), "test_a_model_is_read_by_the_plugin_that_recognises_it"),
]


def run(suite: type[FormatConformance], test: str, folder: Path) -> None:
    method: Callable[..., None] = getattr(suite(), test)
    method(*([folder] if "tmp_path" in method.__annotations__ else []))


@pytest.mark.parametrize(("reader", "test"), FAULTS, ids=lambda each: getattr(each, "__name__", each))
def test_a_planted_fault_is_found(reader: type[Toy], test: str, tmp_path: Path) -> None:
    suite = type("Suite", (TestToy,), {"reader": reader})
    with pytest.raises((AssertionError, FileNotFoundError)):
        run(suite, test, tmp_path)


@pytest.mark.parametrize(
    "test",
    [
        "test_a_model_cut_short_at_any_byte_is_refused",
        "test_flipped_bits_end_in_an_error_or_a_sound_model",
        "test_extreme_numbers_in_words_end_in_an_error_or_a_sound_model",
        "test_extreme_numbers_in_text_end_in_an_error_or_a_sound_model",
    ],
)
def test_an_index_after_the_tensors_is_damaged(test: str, tmp_path: Path) -> None:
    suite = type("Suite", (TestIndexed,), {"reader": LetsErrorsOfTheIndexEscape})
    with pytest.raises(AssertionError, match="reading raised KeyError"):
        run(suite, test, tmp_path)


def test_the_error_for_a_model_read_without_tensors_names_them(tmp_path: Path) -> None:
    suite = type("Suite", (TestToy,), {"reader": changes(tensors={})})
    with pytest.raises(
        AssertionError, match=r"missing: \['blk\.0\..*'token_embd\.weight'\], not written: \[\]"
    ):
        run(suite, "test_a_model_is_read_by_the_plugin_that_recognises_it", tmp_path)


def test_both_pairings_are_read_unless_one_is_declared(tmp_path: Path) -> None:
    test = "test_the_pairing_of_rope_is_the_one_that_was_written"
    for declared, expected in ((None, {"half", "adjacent"}), ("half", {"half"}), ("adjacent", {"adjacent"})):
        seen = set()

        class Recording(Toy):
            def read(self, path: Path) -> ModelDescriptor:
                model = super().read(path)
                seen.add(model.conventions.rope_pairing)  # noqa: B023 - used before the next round
                return model

        run(
            type("Suite", (TestToy,), {"reader": Recording, "pairing": declared}),
            test,
            tmp_path / str(declared),
        )
        assert seen == expected


def test_a_name_that_is_not_registered_is_found(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="gguf_of_nobody"):
        run(Unregistered, "test_the_package_registers_the_class", tmp_path)


def test_every_test_of_the_suite_has_a_planted_fault() -> None:
    tests = {name for name in dir(FormatConformance) if name.startswith("test_")}
    assert tests == {test for _, test in FAULTS} | {"test_the_package_registers_the_class"}


def test_an_exemption_for_an_unknown_content_is_an_error(tmp_path: Path) -> None:
    suite = type("Suite", (TestToy,), {"recognises_also": frozenset({"GGUFF"})})
    with pytest.raises(AssertionError, match="GGUFF"):
        run(suite, "test_files_of_other_formats_are_not_recognised", tmp_path)


FIELDS = {
    "tokenizer": "test_the_vocabulary_is_the_one_that_was_written",
    "chat_template": "test_the_chat_template_is_the_one_that_was_written",
    "metadata": "test_the_metadata_has_what_was_written",
    "sampling": "test_the_sampling_defaults_are_those_that_were_written",
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_that_is_not_stored_is_declared_and_comes_back_empty(field: str, tmp_path: Path) -> None:
    empty = None if field in ("tokenizer", "chat_template") else {}

    def toy(self: TestToy, hidden: int = 12) -> ModelDescriptor:
        return replace(TestToy.toy(self, hidden), **{field: empty})

    def write(self: TestToy, model: ModelDescriptor, path: Path) -> Path:
        return TestToy.write(self, TestToy.toy(TestToy()), path)

    for declared, read, wrong in (
        (set(), empty, rf"toy\(\) has no {field}: give it one, or declare '{field}' in not_stored"),
        ({field}, lambda found: found, f"{field} is in not_stored, but read as"),
        ({field}, empty, None),
    ):
        values = {"write": write, "not_stored": frozenset(declared), "reader": changes(**{field: read})}
        suite = type("Suite", (TestToy,), {**values, "toy": toy})
        if wrong is None:
            run(suite, FIELDS[field], tmp_path / "sound")
        else:
            with pytest.raises(AssertionError, match=wrong):
                run(suite, FIELDS[field], tmp_path / f"wrong {len(declared)}")


def test_the_toy_has_nothing_that_is_declared_as_not_stored(tmp_path: Path) -> None:
    class Little(FormatConformance):
        reader: ClassVar[Any] = Toy
        not_stored = frozenset({"tokenizer", "chat_template", "sampling"})
        storage_types = frozenset({"F32", "F16"})

    toy = Little().toy()
    assert (toy.tokenizer, toy.chat_template, toy.sampling) == (None, None, {})
    assert toy.metadata
    assert {tensor.dtype.name for tensor in toy.tensors.values()} == {"F32", "F16"}
    every = {tensor.dtype.name for tensor in FormatConformance().toy().tensors.values()}
    assert every == {"F32", "F16", "BF16", "Q8_0"}


@pytest.mark.parametrize("setting", ["not_stored", "storage_types"])
def test_a_setting_that_names_what_there_is_not_is_an_error(setting: str) -> None:
    suite = type("Suite", (TestToy,), {setting: frozenset({"weights"})})
    with pytest.raises(AssertionError, match=rf"{setting} names \['weights'\]; there are "):
        suite().toy()


def test_a_test_that_has_nothing_to_read_is_skipped(tmp_path: Path) -> None:
    class Without(TestToy):
        def damaged(self, path: Path) -> Iterable[tuple[str, Path]]:
            return ()

    class InBytes(TestToy):
        def write(self, model: ModelDescriptor, path: Path) -> Path:
            path.write_bytes(MAGIC)
            return path

        def _read(self, path: Path) -> ModelDescriptor:
            return self.toy()

    for suite, test, reason in (
        (Without, "test_hostile_models_of_the_format_are_refused", "`damaged` yields no hostile models"),
        (TestToy, "test_the_package_registers_the_class", "`entry_point` is empty"),
        (InBytes, "test_extreme_numbers_in_text_end_in_an_error_or_a_sound_model", "no file has a decimal"),
    ):
        with pytest.raises(unittest.SkipTest, match=reason):
            run(suite, test, tmp_path)


CONTENT = MAGIC + struct.pack("<I", 20) + b'{"a": 12, "b": -3.5}' + bytes(range(100, 140))


def test_cuts_are_made_at_every_byte_of_the_header_and_at_some_of_the_rest() -> None:
    cuts = [content for _, content in corruptions.cuts(CONTENT, [range(28)], 100)]
    assert all(CONTENT.startswith(each) for each in cuts)
    lengths = [len(each) for each in cuts]
    assert lengths == sorted({*lengths})
    assert {*range(29)} <= {*lengths} <= {*range(len(CONTENT))}
    assert len(CONTENT) - 1 in lengths
    assert len([*corruptions.cuts(CONTENT, [range(28)], 5)]) <= 5 + 1 + 4


def test_flips_change_one_bit_each_and_all_of_the_first_bytes() -> None:
    flipped = [content for _, content in corruptions.flips(CONTENT, [range(28)], 4, 10)]
    changed = [int.from_bytes(CONTENT, "little") ^ int.from_bytes(each, "little") for each in flipped]
    assert all(each.bit_count() == 1 for each in changed)
    bits = [each.bit_length() - 1 for each in changed]
    assert bits[:32] == [*range(32)]
    assert len(bits) == 42
    assert max(bits) < 8 * 28


def test_words_are_overwritten_by_each_number_at_each_of_the_first_bytes() -> None:
    damaged = {content for _, content in corruptions.words(CONTENT, [range(28)], 6, 0)}
    assert all(len(each) == len(CONTENT) for each in damaged)
    for value, width in ((2**31, 4), (2**32 - 1, 4), (2**63, 8), (2**64 - 1, 8), (1, 8)):
        for at in range(6):
            assert CONTENT[:at] + value.to_bytes(width, "little") + CONTENT[at + width :] in damaged


def test_numbers_in_text_are_replaced_and_the_length_before_it_is_kept_right() -> None:
    found = [content for _, content in corruptions.numbers(CONTENT, [range(28)], 10**6)]
    assert len(found) == 2 * len(corruptions.NUMBERS)
    for content in found:
        length = struct.unpack("<I", content[4:8])[0]
        assert content[8 + length :] == CONTENT[28:]
        assert re.fullmatch(rb'\{"a": .*, "b": .*\}', content[8 : 8 + length])
    assert MAGIC + struct.pack("<I", 23) + b'{"a": 1e400, "b": -3.5}' + CONTENT[28:] in found
    plain = [content for _, content in corruptions.numbers(b"{a: 7}", [range(6)], 1000, [b"NaN"])]
    assert plain == [b"{a: NaN}"]


def test_each_span_of_bytes_gets_its_part_of_a_sample() -> None:
    spans = [range(5000), range(6000, 6004), range(7000, 7100)]
    found = corruptions.spread(spans, iter, 300)
    assert len(found) == 300
    assert found == sorted({*found})
    assert {*range(6000, 6004)} <= {*found}
    assert sum(each in spans[2] for each in found) >= 50
    assert sum(each in spans[0] for each in found) >= 150
    assert corruptions.spread(spans[1:], iter, 104) == [*spans[1], *spans[2]]


def test_only_bytes_of_the_spans_are_changed() -> None:
    spans = [range(4), range(30, 40), range(60, 68)]
    changed = set()
    for _, content in corruptions.flips(CONTENT, spans, 6, 1000):
        changed |= {at for at in range(len(CONTENT)) if content[at] != CONTENT[at]}
    assert changed == {each for span in spans for each in span}


def test_the_length_of_each_text_is_kept_right() -> None:
    first, second = b'{"a": 1}', b'{"b": 2}'
    length = struct.pack("<I", 8)
    content = MAGIC + length + first + bytes(range(128, 168)) + length + second
    spans = [range(16), range(56, len(content))]
    found = [each for _, each in corruptions.numbers(content, spans, 100, [b"777"])]
    longer = struct.pack("<I", 10)
    assert found == [
        MAGIC + longer + b'{"a": 777}' + content[16:],
        content[:56] + longer + b'{"b": 777}',
    ]


def test_the_place_of_tensors_is_all_of_a_file_that_holds_them() -> None:
    one, other = bytes(range(40)), bytes(range(100, 150))
    place = Place.of(b"head" + one + other + b"gap" + bytes(range(200, 240)) + b"end", [other, one])
    assert place == Place((range(4), range(94, 140)), 94)
    assert Place.of(b"head", [one]) == Place((range(4),), 0)
    assert Place.of(one, [one]) == Place((), 40)
