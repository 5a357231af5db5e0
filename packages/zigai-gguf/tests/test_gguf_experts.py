"""Experts that are stored one by one become one tensor of each layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import FormatError, ShapeError
from zigai_gguf import GGUFFormat, write_gguf


def read(tmp_path: Path, tensors: dict[str, Any]) -> Any:
    path = tmp_path / "model.gguf"
    write_gguf(path, {"general.architecture": "llama"}, tensors)
    return GGUFFormat().read(path)


def test_experts_are_joined_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    stored = {
        f"blk.0.ffn_up.{number}.weight": np.full((2, 32), number, np.float32)
        for number in (1, 0, 10, *range(2, 10))
    }
    model = read(tmp_path, {"other.weight": np.ones((2, 32), np.float32), **stored})
    assert list(model.tensors) == ["other.weight", "blk.0.ffn_up_exps.weight"]
    joined = model.tensors["blk.0.ffn_up_exps.weight"]
    assert (joined.shape, joined.nbytes, joined.data.nbytes) == ((11, 2, 32), 11 * 256, 11 * 256)
    assert joined.to_float32()[:, 0, 0].tolist() == [*range(11)]
    assert joined.identity is not None
    assert len(joined.identity.split(" + ")) == 11
    other = joined.changed(name="x", shape=(22, 32))
    assert (other.name, other.shape, joined.name) == ("x", (22, 32), "blk.0.ffn_up_exps.weight")
    assert other.rows_to_float32(np.array([3, 20]))[:, 0].tolist() == [1, 10]
    other.release()


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (
            ["blk.0.ffn_up.0", "blk.0.ffn_up.2"],
            "of the experts of 'blk.0.ffn_up_exps.weight', number 1 is missing",
        ),
        (["blk.0.ffn_up.1"], "number 0 is missing"),
        (["blk.0.ffn_up.0", "blk.0.ffn_up_exps"], "and its experts one by one, too"),
    ],
)
def test_experts_that_are_missing_or_twice_are_named(tmp_path: Path, names: list[str], error: str) -> None:
    with pytest.raises(FormatError, match=error):
        read(tmp_path, {f"{name}.weight": np.ones((2, 32), np.float32) for name in names})


def test_experts_of_different_shapes_are_named(tmp_path: Path) -> None:
    shapes = {"blk.0.ffn_up.0.weight": (2, 32), "blk.0.ffn_up.1.weight": (4, 32)}
    with pytest.raises(ShapeError, match=r"ffn_up\.1\.weight is F32 of shape \(4, 32\), but"):
        read(tmp_path, {name: np.ones(shape, np.float32) for name, shape in shapes.items()})
