"""Tests of tensors: those that are made of others, and how they print."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import ComputedTensor, JoinedTensor, TensorInfo, kept_copy
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import FormatError, ShapeError
from zigai_core.contracts.mapped_file import MappedFile
from zigai_core.testing.toys import toy_decoder


def matrix(name: str, values: NDArray[np.float32], **more: object) -> TensorInfo:
    data = values.astype("<f4").view(np.uint8).reshape(-1)
    return TensorInfo(name, values.shape, DTYPES["F32"], data, **more)  # type: ignore[arg-type]


@pytest.fixture
def numbers() -> NDArray[np.float32]:
    return np.random.default_rng(5).standard_normal((6, 4, 8)).astype(np.float32)


def test_rows_of_a_stack_are_those_of_its_parts(numbers: NDArray[np.float32]) -> None:
    joined = JoinedTensor("stack", [matrix(f"{i}", part) for i, part in enumerate(numbers)])
    flat = numbers.reshape(24, 8)
    assert joined.shape == (6, 4, 8) and joined.nbytes == numbers.nbytes
    for start, stop in ((0, 24), (0, 1), (3, 5), (4, 8), (7, 21), (23, 24), (5, 5), (24, 24)):
        assert joined.row_data(start, stop).tobytes() == flat[start:stop].tobytes()
    np.testing.assert_array_equal(joined.to_float32(), numbers)
    np.testing.assert_array_equal(joined.rows_to_float32(np.array([23, 0, 5])), flat[[23, 0, 5]])
    with pytest.raises(
        ShapeError, match=r"tensor b is F32 of shape \(2, 4\), but a, with which it is joined"
    ):
        JoinedTensor("stack", [matrix("a", numbers[0, :1, :4]), matrix("b", numbers[0, :2, :4])])


def test_a_computed_tensor_is_computed_once_until_it_is_released(numbers: NDArray[np.float32]) -> None:
    asked, released = list[tuple[int, int]](), list[str]()
    source = matrix("source", numbers[0], release=lambda: released.append("source"), identity="file 7")

    def double(start: int, stop: int) -> NDArray[np.uint8]:
        asked.append((start, stop))
        return (2 * source.to_float32()[start:stop]).view(np.uint8).reshape(-1)

    tensor = ComputedTensor("twice", (4, 8), DTYPES["F32"], [source], double, "doubled")
    assert tensor.row_data(1, 3).nbytes == 64 and asked == [(1, 3)]
    np.testing.assert_array_equal(tensor.to_float32(), 2 * numbers[0])
    other = tensor.changed(name="other").reshaped((1, 4, 8))
    np.testing.assert_array_equal(other.to_float32(), 2 * numbers[:1])
    assert tensor.row_data(1, 3).nbytes == 64 and asked == [(1, 3), (0, 4)]
    assert other.identity == tensor.identity == "doubled (file 7)"
    assert tensor.release is not None
    tensor.release()
    assert released == ["source"]
    np.testing.assert_array_equal(tensor.to_float32(), 2 * numbers[0])
    assert asked[-1] == (0, 4) and len(asked) == 3


def test_values_are_computed_once_for_every_use(numbers: NDArray[np.float32]) -> None:
    asked = list[int]()
    source = matrix("source", numbers[0])

    def compute(start: int, stop: int) -> NDArray[np.uint8]:
        asked.append(start)
        return source.row_data(start, stop)

    tensor = ComputedTensor("same", (4, 8), DTYPES["F32"], [source], compute, "same")
    for _ in range(3):
        np.testing.assert_array_equal(tensor.to_float32(), numbers[0])
        np.testing.assert_array_equal(tensor.rows_to_float32(np.array([3, 0])), numbers[0][[3, 0]])
    assert asked == [0]
    assert "same" in repr(tensor) and len(repr(tensor)) < 200
    with pytest.raises(IndexError, match="rows 0 to 4 of 4 rows"):
        tensor.rows_to_float32(np.array([0, 4]))


def test_copies_of_a_mapped_file_do_not_touch_the_mapping(
    tmp_path: Path, numbers: NDArray[np.float32]
) -> None:
    path = tmp_path / "weights"
    half = numbers[0].astype("<f2")
    path.write_bytes(b"head" + half.tobytes() + bytes(1 << 16))
    tensor = MappedFile(path).tensor("a", (4, 8), DTYPES["F16"], 4, 64)
    copy = kept_copy(tensor)
    os.truncate(path, 40)  # reading the mapping past the first page would end the process
    assert tensor.copy_rows(0, 2).tobytes() == half[:2].tobytes()
    for use in (
        lambda: tensor.copy_rows(1, 3),
        tensor.to_float32,
        lambda: tensor.rows_to_float32(np.array([0, 3])),
        lambda: copy.data,
        JoinedTensor("two", [tensor, tensor]).to_float32,
    ):
        with pytest.raises(FormatError, match="weights: was cut short while in use"):
            use()


def test_a_kept_copy_outlives_the_file_until_its_release(
    tmp_path: Path, numbers: NDArray[np.float32]
) -> None:
    path = tmp_path / "weights"
    path.write_bytes(numbers[0].astype("<f4").tobytes())
    copy = kept_copy(MappedFile(path).tensor("a", (4, 8), DTYPES["F32"], 0, 128))
    np.testing.assert_array_equal(copy.to_float32(), numbers[0])
    os.truncate(path, 0)
    assert copy.data.nbytes == 128
    assert copy.release is not None
    copy.release()
    with pytest.raises(FormatError, match="was cut short"):
        _ = copy.data


@pytest.mark.parametrize(
    ("begin", "nbytes"), [(-16, 16), (-16, 128), (0, 129), (1, 128), (129, 0), (4, -4), (2**70, 16)]
)
def test_a_tensor_that_is_not_in_its_file_is_refused(tmp_path: Path, begin: int, nbytes: int) -> None:
    path = tmp_path / "weights"
    path.write_bytes(bytes(128))
    file = MappedFile(path)
    expected = f"weights: tensor 'a': {nbytes} bytes from byte {begin} on are not in the file of 128: "
    with pytest.raises(FormatError, match=expected):
        file.tensor("a", (4,), DTYPES["F32"], begin, nbytes)
    assert file.tensor("a", (4,), DTYPES["F32"], 112, 16).data.nbytes == 16


def test_a_computation_of_another_size_is_an_error(numbers: NDArray[np.float32]) -> None:
    source = matrix("source", numbers[0])
    tensor = ComputedTensor("half", (4, 8), DTYPES["F16"], [source], source.row_data, "halved")
    assert tensor.identity is None
    with pytest.raises(ShapeError, match="tensor half: 4 rows take 64 bytes, but 128 were computed"):
        _ = tensor.data


def test_a_source_that_was_cut_short_is_an_error(numbers: NDArray[np.float32]) -> None:
    def cut() -> None:
        raise FormatError("cut short")

    whole, short = matrix("a", numbers[0]), matrix("b", numbers[1], check=cut)
    joined = JoinedTensor("stack", [whole, short])
    for use in (joined.check_file, joined.to_float32, lambda: joined.data, lambda: joined.row_data(0, 1)):
        with pytest.raises(FormatError, match="cut short"):
            use()


def test_a_model_and_its_tensors_are_printed_on_a_short_line() -> None:
    model = replace(toy_decoder(layers=1), name="a\x1b[2J\n" + "b" * 500, format="toy 1")
    shown = repr(model)
    assert shown.startswith(r"ModelDescriptor('a\x1b[2J\nbbb")
    assert f"architecture='llama', format='toy 1', {len(model.tensors)} tensors, " in shown
    parameters = sum(int(np.prod(tensor.shape)) for tensor in model.tensors.values())
    assert shown.endswith(f" {parameters:,} parameters, {4 * parameters:,} bytes)")
    assert len(shown) < 250
    assert shown.isprintable()
    assert str(model) == shown
    tensor = model.tensors["token_embd.weight"]
    assert repr(tensor) == "TensorInfo('token_embd.weight', (512, 64), F32, 131,072 bytes)"
