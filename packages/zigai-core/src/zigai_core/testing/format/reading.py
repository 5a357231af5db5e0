"""The conformance suite for `FormatReader.read`, of models that are not damaged."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import FormatError
from zigai_core.contracts.options import SamplingOptions
from zigai_core.testing.format.consistency import check_consistent, is_mapped
from zigai_core.testing.format.settings import FormatSuite
from zigai_core.testing.format.toy_model import OPTIONAL, PAIRINGS
from zigai_core.testing.memory import PeakMemory

_VOCABULARY = (
    *("kind", "tokens", "scores", "types", "merges", "special_ids", "end_ids"),
    *("add_bos", "add_eos", "separators", "second_type", "add_space_prefix"),
)
"""Fields of a `TokenizerSpec` that are compared."""


class ReadingConformance(FormatSuite):
    """Tests of the descriptor, and of the tensors in it."""

    def test_tensors_are_those_that_were_written(self, tmp_path: Path) -> None:
        written = self._written(tmp_path)
        _check_tensors(self._read(written.path), self.toy())

    def test_architecture_and_hyperparameters_are_those_that_were_written(self, tmp_path: Path) -> None:
        written, expected = self._written(tmp_path), self.toy()
        model = self._read(written.path)
        assert model.architecture == expected.architecture
        for key, value in expected.hyperparameters.items():
            assert key in model.hyperparameters, f"the hyperparameter {key} was not read"
            found = model.hyperparameters[key]
            assert _equal(found, value), f"the hyperparameter {key} is {found!r}, not {value!r}"

    def test_the_error_for_a_missing_hyperparameter_names_the_file(self, tmp_path: Path) -> None:
        written = self._written(tmp_path)
        model = self._read(written.path)
        try:
            model.hyperparameters.integer("of.no.model")
        except FormatError as error:
            assert written.named(str(error)), f"give Hyperparameters a source, the file: {error}"
            assert model.architecture in str(error), f"give Hyperparameters a prefix: {error}"
        else:
            raise AssertionError("hyperparameters have a value for the key of.no.model")

    def test_the_vocabulary_is_the_one_that_was_written(self, tmp_path: Path) -> None:
        expected, found = self._optional("tokenizer", tmp_path)
        for field in _VOCABULARY if expected is not None else ():
            right, value = getattr(expected, field), getattr(found, field)
            assert right is None or _equal(value, right), f"the vocabulary's {field} are {value}, not {right}"
            if isinstance(right, np.ndarray):
                kind = getattr(value, "dtype", type(value).__name__)
                assert kind == right.dtype, f"the vocabulary's {field} are {kind}, not {right.dtype}"

    def test_the_chat_template_is_the_one_that_was_written(self, tmp_path: Path) -> None:
        expected, found = self._optional("chat_template", tmp_path)
        assert found == expected, f"the chat template is {found!r}, not {expected!r}"

    def test_the_metadata_has_what_was_written(self, tmp_path: Path) -> None:
        """It may have more, such as the hyperparameters."""
        expected, found = self._optional("metadata", tmp_path)
        for key, value in expected.items():
            assert key in found, f"metadata lacks {key!r}"
            assert _equal(found[key], value), f"metadata has {key!r}: {found[key]!r}, not {value!r}"

    def test_the_sampling_defaults_are_those_that_were_written(self, tmp_path: Path) -> None:
        expected, found = self._optional("sampling", tmp_path)
        keys = sorted(found), sorted(expected)
        assert keys[0] == keys[1], f"there are sampling defaults for {keys[0]}, not {keys[1]}"
        for name, value in expected.items():
            assert _equal(found[name], value), f"the default of {name} is {found[name]!r}, not {value!r}"
        SamplingOptions(**found)

    def _optional(self, field: str, folder: Path) -> tuple[Any, Any]:
        """Returns a field as written and as read: both are empty if it is not stored, else neither."""
        expected = getattr(self.toy(), field)
        found = getattr(self._read(self._written(folder).path), field)
        if field in self.not_stored:
            assert not expected, f"toy() has {field}, but not_stored says that it is not written"
            value = dict(found) if isinstance(found, Mapping) else found
            assert value == OPTIONAL[field], f"{field} is in not_stored, but read as {found!r}"
        else:
            assert expected, f"toy() has no {field}: give it one, or declare {field!r} in not_stored"
            assert found, f"{field} was not read"
        return expected, found

    def test_the_pairing_of_rope_is_the_one_that_was_written(self, tmp_path: Path) -> None:
        for pairing in (self.pairing,) if self.pairing else PAIRINGS:
            toy = self.toy()
            model = replace(toy, conventions=replace(toy.conventions, rope_pairing=pairing))
            found = self._read(self._written(tmp_path / pairing, model=model).path).conventions
            assert found == model.conventions, (
                f"a model of {model.conventions} is read as one of {found}: store the pairing, or set "
                "`pairing` if the format has models of one only"
            )

    def test_the_descriptor_names_model_format_and_files(self, tmp_path: Path) -> None:
        written = self._written(tmp_path)
        model = self._read(written.path)
        for field in ("name", "format"):
            text = getattr(model, field)
            assert isinstance(text, str), f"{field} is {text!r}"
            assert text and text.isprintable(), f"{field} is {text!r}"
        assert model.path in (written.path, *model.files), f"path is {model.path}"
        assert set(model.files) <= set(written.files), f"files are {model.files}"

    def test_tensor_data_is_read_only_bytes_of_the_exact_size(self, tmp_path: Path) -> None:
        model = self._read(self._written(tmp_path).path)
        check_consistent(model, "the model as written")
        for name, tensor in model.tensors.items():
            for begin, count in ((0, tensor.nbytes), (tensor.nbytes // 2, 3)):
                if tensor.read is not None:
                    copied = tensor.read(begin, count)
                    same = copied.tobytes() == tensor.data[begin : begin + count].tobytes()
                    assert same, f"tensor {name!r}: read({begin}, {count}) are other bytes"

    def test_tensors_are_mapped_and_not_copied(self, tmp_path: Path) -> None:
        written = self._written(tmp_path, hidden=1 << 14)
        self._read(self._written(tmp_path / "small").path)  # what is imported is no part of the measure
        with PeakMemory() as peak:
            model = self._read(written.path)
        used = peak.nbytes
        largest = max(tensor.nbytes for tensor in model.tensors.values())
        assert largest >= 1 << 20, "toy(hidden=16384) must have a tensor of 1 MiB"
        assert used < largest // 4, f"reading tensors of up to {largest} bytes allocated {used} bytes"

    def test_reading_twice_gives_the_same(self, tmp_path: Path) -> None:
        written = self._written(tmp_path)
        first, second = self._read(written.path), self._read(written.path)
        _check_tensors(second, first)
        assert list(first.tensors) == list(second.tensors), "the tensors have another order"
        assert dict(first.hyperparameters.items()).keys() == dict(second.hyperparameters.items()).keys()
        for name, tensor in first.tensors.items():
            assert tensor.identity == second.tensors[name].identity, f"tensor {name!r} has another identity"

    def test_an_identity_is_of_one_tensor_and_one_state_of_a_file(self, tmp_path: Path) -> None:
        written = self._written(tmp_path)
        before = {name: each.identity for name, each in self._read(written.path).tensors.items()}
        known = [identity for identity in before.values() if identity is not None]
        assert len({*known}) == len(known), "two tensors have the same identity"
        for file in written.files:
            file.write_bytes(file.read_bytes())
            found = file.stat()
            os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns + 10**9))
        for name, tensor in self._read(written.path).tensors.items():
            same = tensor.identity is not None and tensor.identity == before[name]
            assert not same, f"tensor {name!r} has the identity that it had before its file was rewritten"

    def test_a_file_cut_short_while_in_use_is_a_format_error(self, tmp_path: Path) -> None:
        written = self._written(tmp_path)
        tensors = self._read(written.path).tensors.values()
        mapped = [each for each in tensors if is_mapped(each.data)]
        sizes = {file: file.stat().st_size for file in written.files}
        for part in (2, 0):
            for file, size in sizes.items():
                os.truncate(file, size // part if part else 0)
            for tensor in mapped:
                where = f"tensor {tensor.name!r} of a file that was cut short"
                assert tensor.check is not None, f"{where}: it is mapped, and has no check"
                assert tensor.read is not None, f"{where}: it is mapped, and has no read"
                calls: list[tuple[str, Any]] = [("check()", tensor.check)]
                if not part:
                    calls.append(("read(0, 1)", lambda read=tensor.read: read(0, 1)))
                for name, call in calls:
                    try:
                        call()
                    except FormatError as error:
                        assert written.named(str(error)), f"{where}: {name}: the error names no file: {error}"
                    except Exception as error:
                        raise AssertionError(f"{where}: {name} raised {type(error).__name__}") from error
                    else:
                        raise AssertionError(f"{where}: {name} raised no FormatError")

    def test_names_with_spaces_and_letters_of_other_scripts_are_read(self, tmp_path: Path) -> None:
        written = self._written(tmp_path)
        _check_tensors(self._read(written.copied(tmp_path / "my models é 模型").path), self.toy())

    def test_a_relative_path_is_read_and_stays_usable_in_another_folder(self, tmp_path: Path) -> None:
        written = self._written(tmp_path)
        with contextlib.chdir(tmp_path):
            model = self._read(written.path.relative_to(tmp_path))
        gc.collect()
        _check_tensors(model, self.toy())
        for tensor in model.tensors.values():
            tensor.check_file()
            tensor.copy_rows(0, 1)

    def test_links_are_read(self, tmp_path: Path) -> None:
        for link in self._written(tmp_path).linked(tmp_path):
            _check_tensors(self._read(link.path), self.toy())

    def test_released_data_is_read_again(self, tmp_path: Path) -> None:
        model = self._read(self._written(tmp_path, hidden=1 << 12).path)
        for tensor in model.tensors.values():
            if tensor.release is not None:
                tensor.release()
        _check_tensors(model, self.toy(1 << 12))


def _check_tensors(model: ModelDescriptor, expected: ModelDescriptor) -> None:
    """Asserts that the tensors have the names, shapes, types and bytes of those of `expected`."""
    found, wanted = model.tensors.keys(), expected.tensors.keys()
    missing, more = wanted - found, found - wanted
    assert not missing and not more, f"tensors not read: {sorted(missing)}; not written: {sorted(more)}"
    for name, right in expected.tensors.items():
        tensor = model.tensors[name]
        assert tensor.shape == right.shape, f"tensor {name!r} has shape {tensor.shape}, not {right.shape}"
        types = tensor.dtype.name, right.dtype.name
        assert types[0] == types[1], f"tensor {name!r} is stored as {types[0]}, not {types[1]}"
        assert np.array_equal(tensor.data, right.data), f"tensor {name!r} has other bytes"


def _equal(found: Any, right: Any) -> bool:
    """True if values are equal; fractions, which may be stored as float32, to six digits."""
    if isinstance(right, str | bytes | bool) or right is None:
        return type(found) is type(right) and bool(found == right)
    if isinstance(right, dict | set | frozenset):
        return bool(found == right)
    if isinstance(right, float):
        return isinstance(found, float | np.floating) and bool(np.isclose(found, right, rtol=1e-6, atol=0))
    if isinstance(right, int):
        return isinstance(found, int | np.integer) and not isinstance(found, bool) and int(found) == right
    if found is None or len(found) != len(right):
        return False
    return all(_equal(one, other) for one, other in zip(_plain(found), _plain(right), strict=True))


def _plain(values: Any) -> Any:
    return values.tolist() if isinstance(values, np.ndarray) else values
