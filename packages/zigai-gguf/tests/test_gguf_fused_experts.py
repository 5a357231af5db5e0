"""Gate and up of experts in one tensor become two tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import FormatError
from zigai_gguf import GGUFFormat, write_gguf

FUSED = "blk.0.ffn_gate_up_exps.weight"
GATE, UP = "blk.0.ffn_gate_exps.weight", "blk.0.ffn_up_exps.weight"


def read(tmp_path: Path, tensors: dict[str, Any]) -> Any:
    path = tmp_path / "model.gguf"
    write_gguf(path, {"general.architecture": "gemma4"}, tensors)
    return GGUFFormat().read(path)


def test_the_rows_of_each_expert_are_its_gate_and_then_its_other_half(tmp_path: Path) -> None:
    both = np.arange(3 * 10 * 4, dtype=np.float32).reshape(3, 10, 4)
    tensors = read(tmp_path, {"other.weight": np.ones((2, 4), np.float32), FUSED: both}).tensors
    assert set(tensors) == {"other.weight", GATE, UP}
    for name, part in ((GATE, both[:, :5]), (UP, both[:, 5:])):
        tensor = tensors[name]
        assert (tensor.shape, tensor.nbytes) == ((3, 5, 4), 3 * 5 * 4 * 4)
        # Rows of two experts, of one, and of none, before all are kept.
        for start, stop in ((3, 8), (5, 9), (0, 15), (7, 7)):
            rows = part.reshape(15, 4)[start:stop]
            np.testing.assert_array_equal(tensor.copy_rows(start, stop).view(np.float32), rows.reshape(-1))
        np.testing.assert_array_equal(tensor.rows_to_float32(np.array([14, 4])), part.reshape(15, 4)[[14, 4]])
        np.testing.assert_array_equal(tensor.to_float32(), part)
    assert None is not tensors[GATE].identity != tensors[UP].identity is not None


@pytest.mark.parametrize(
    ("shapes", "error"),
    [
        ({FUSED: (2, 5, 4)}, r"'blk\.0\.ffn_gate_up_exps\.weight' has shape \(2, 5, 4\), but must hold"),
        ({FUSED: (6, 4)}, r"has shape \(6, 4\), but must hold"),
        ({FUSED: (2, 6, 4), UP: (2, 3, 4)}, r"holds 'blk\.0\.ffn_up_exps\.weight', and 'blk\.0\.ffn_gate_up"),
    ],
)
def test_a_tensor_that_has_no_halves_or_is_there_twice_is_named(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]], error: str
) -> None:
    with pytest.raises(FormatError, match=error):
        read(tmp_path, {name: np.ones(shape, np.float32) for name, shape in shapes.items()})
