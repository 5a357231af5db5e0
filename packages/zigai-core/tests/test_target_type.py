"""The type that a tensor gets in a model whose matrices are to be of one type."""

from __future__ import annotations

import numpy as np
import pytest

from zigai_core.api.target_type import target_type
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES


@pytest.mark.parametrize(
    ("name", "shape", "wanted", "stored"),
    [
        ("blk.0.ffn_down.weight", (4, 512), "Q4_K", "Q4_K"),
        ("blk.0.ffn_down.weight", (4, 512), "Q4_0", "Q4_0"),
        ("blk.0.ffn_down.weight", (4, 512), "F32", "F32"),
        ("blk.0.ffn_down_exps.weight", (2, 4, 512), "Q4_K", "Q4_K"),
        ("blk.0.ffn_down.weight", (4, 96), "Q4_K", "Q8_0"),
        ("blk.0.ffn_down.weight", (4, 96), "Q4_0", "Q4_0"),
        ("blk.0.ffn_down.weight", (4, 48), "Q4_K", "F16"),
        ("blk.0.ffn_down.weight", (4, 48), "Q8_0", "F16"),
        ("blk.0.ffn_down.weight", (4, 48), "F32", "F32"),
        ("token_embd.weight", (4, 512), "Q4_K", "Q8_0"),
        ("output.weight", (4, 512), "Q4_0", "Q8_0"),
        ("output.weight", (4, 48), "Q4_0", "F16"),
        ("output.weight", (4, 512), "F16", "F16"),
        ("blk.0.attn_norm.weight", (512,), "Q4_0", "BF16"),
        ("blk.0.attn_norm.weight", (512,), "F32", "BF16"),
        ("blk.0.ffn_gate_exps.bias", (4, 512), "Q8_0", "BF16"),
        ("blk.0.ffn_gate_inp.weight", (4, 512), "Q4_0", "BF16"),
        ("blk.0.ffn_gate_inp.weight", (4, 512), "F32", "F32"),
        ("blk.0.ssm_conv1d.weight", (512, 4), "Q8_0", "BF16"),
        ("blk.0.shortconv.conv.weight", (512, 3), "Q4_K", "BF16"),
        ("blk.0.ssm_norm.weight", (8, 512), "Q4_0", "BF16"),
        ("blk.0.ssm_a", (512, 16), "Q8_0", "BF16"),
        ("position_embd.weight", (64, 512), "Q4_K", "BF16"),
        ("token_types.weight", (2, 512), "Q8_0", "BF16"),
        ("token_types.weight", (2, 512), "F16", "F16"),
    ],
)
def test_the_type_of_a_tensor(name: str, shape: tuple[int, ...], wanted: str, stored: str) -> None:
    tensor = TensorInfo(name, shape, DTYPES["BF16"], np.zeros(2 * int(np.prod(shape)), np.uint8))
    assert target_type(tensor, wanted) is DTYPES[stored]
