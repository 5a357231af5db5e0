"""Models with published shapes and random weights: the storage types of their tensors, and that they run."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from zigai_cli.measure import shapes
from zigai_cli.measure.shapes import SHAPES, random_model, stored_as
from zigai_core.api.loading import assemble
from zigai_core.api.registry import Plugins
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.ops.blocks import decoder
from zigai_core.ops.reference import NumpyBackend


def types(mix: str, part: str, layers: int, columns: int = 4096) -> Counter[str]:
    names = (f"blk.{layer}.{part}.weight" for layer in range(layers))
    return Counter(stored_as(mix, name, columns, layers=layers, tied=False) for name in names)


def test_storage_types_are_those_of_llama_quantize() -> None:
    assert types("Q4_K_M", "ffn_down", 32) == {"Q6_K": 16, "Q4_K": 16}
    assert types("Q4_K_M", "attn_q", 32) == {"Q4_K": 32}
    assert types("Q5_K_M", "attn_v", 22) == {"Q6_K": 10, "Q5_K": 12}
    assert types("Q4_K_M", "attn_q", 24, columns=896) == {"Q5_0": 24}
    assert types("Q4_K_M", "attn_v", 24, columns=896) == {"Q8_0": 12, "Q5_0": 12}
    assert stored_as("Q4_K_M", "output.weight", 4096, layers=32, tied=False) == "Q6_K"
    assert stored_as("Q4_K_M", "token_embd.weight", 4096, layers=32, tied=False) == "Q4_K"
    assert stored_as("Q4_K_M", "token_embd.weight", 896, layers=24, tied=True) == "Q8_0"
    assert stored_as("Q4_0", "output.weight", 4096, layers=32, tied=False) == "Q6_K"
    assert stored_as("F16", "output.weight", 4096, layers=32, tied=False) == "F16"
    assert types("Q3_K_M", "ffn_down", 32) == {"Q5_K": 2, "Q4_K": 30}
    assert types("Q3_K_M", "attn_v", 22) == {"Q5_K": 2, "Q4_K": 20}
    assert types("Q3_K_M", "attn_output", 22) == {"Q4_K": 22}
    assert types("Q3_K_M", "attn_q", 22, columns=896) == {"Q4_0": 22}
    assert types("Q2_K", "attn_v", 22) == types("Q2_K", "ffn_down", 22) == {"Q3_K": 22}
    assert types("Q2_K", "ffn_up", 22) == {"Q2_K": 22}
    assert types("IQ4_XS", "ffn_down", 32) == {"Q5_K": 4, "IQ4_XS": 28}
    assert stored_as("Q2_K", "blk.0.attn_v.weight", 4096, layers=32, tied=False, sharing=4) == "Q4_K"
    assert stored_as("IQ4_NL", "blk.9.attn_v.weight", 4096, layers=32, tied=False, sharing=8) == "Q5_K"


@pytest.mark.parametrize("mix", shapes.MIXES)
def test_a_random_model_runs(mix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {**SHAPES["qwen2-0.5b"], "layers": 3, "width": 256, "hidden": 512, "heads": 4, "vocabulary": 300}
    monkeypatch.setattr(shapes, "SHAPES", {"small": small})
    monkeypatch.setattr(shapes, "_POOL", 1 << 16)  # so that the larger tensors repeat their blocks
    plugins = Plugins(
        architectures={"qwen2": lambda model, *, context: decoder(model, context=context, pairing="half")},
        backends={"numpy": NumpyBackend},
    )
    descriptor = random_model("small", mix)
    assert (descriptor.name, descriptor.tokenizer) == (f"small:{mix}", None)
    logits = assemble(descriptor, plugins=plugins, context=32).logits([1, 2, 3])
    assert np.isfinite(logits).all()
    assert logits.std() > 0.01


def test_an_unknown_shape_or_type_is_refused_with_a_list_of_the_known() -> None:
    for shape, mix in (("llama9-7b", "F16"), ("llama2-7b", "Q9")):
        with pytest.raises(
            UnsupportedError, match=rf"no random model {shape}:{mix}; shapes: llama2-7b, .*Q6_K$"
        ):
            random_model(shape, mix)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_consistent(shape: str) -> None:
    known = SHAPES[shape]
    assert known["heads"] % known["kv_heads"] == 0
    assert known["width"] % known["heads"] == 0 or "head_dim" in known
