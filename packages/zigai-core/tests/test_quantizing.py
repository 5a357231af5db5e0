"""Quantising a model's matrices while it is loaded."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest

from zigai_core.api.loading import assemble
from zigai_core.api.quantizing import quantized
from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import ComputedTensor, ModelDescriptor, TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import FormatError, UnsupportedError
from zigai_core.contracts.load_options import LoadOptions
from zigai_core.ops.blocks import decoder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.byte_tokenizer import ByteTokenizer
from zigai_core.testing.toys import toy_decoder

PLUGINS = Plugins(
    architectures={"llama": lambda model, *, context: decoder(model, context=context, pairing="adjacent")},
    tokenizers={"llama": ByteTokenizer},
    backends={"numpy": NumpyBackend},
)
MODEL = toy_decoder(layers=1)


def stored_as(model: ModelDescriptor, dtype: str) -> ModelDescriptor:
    """The model with its matrices of whole blocks encoded beforehand."""
    tensors = dict(model.tensors)
    for name, tensor in model.tensors.items():
        if len(tensor.shape) > 1 and "ffn_gate_inp" not in name:
            kind = DTYPES["Q8_0" if name in ("output.weight", "token_embd.weight") else dtype]
            data = kind.from_float32(tensor.to_float32())
            tensors[name] = TensorInfo(name, tensor.shape, kind, data)
    return dataclasses.replace(model, tensors=tensors)


@pytest.mark.parametrize("dtype", ["Q8_0", "Q4_0"])
def test_a_model_quantised_on_load_equals_one_that_is_stored_so(dtype: str) -> None:
    loaded = assemble(MODEL, quantize=dtype, plugins=PLUGINS)
    expected = assemble(stored_as(MODEL, dtype), plugins=PLUGINS)
    tokens = [1, 7, 300, 2]
    np.testing.assert_array_equal(loaded.logits(tokens), expected.logits(tokens))
    assert np.abs(loaded.logits(tokens) - assemble(MODEL, plugins=PLUGINS).logits(tokens)).max() > 1e-3
    for name, tensor in loaded.descriptor.tensors.items():
        assert tensor.dtype.name == expected.descriptor.tensors[name].dtype.name


def test_tensors_stored_in_blocks_vectors_and_routers_stay() -> None:
    model = toy_decoder(layers=1, width=256, hidden=256, experts=4, dtypes={"ffn_up_exps": "Q5_0"})
    found = {name: t.dtype.name for name, t in quantized(model, "Q4_K", PLUGINS).tensors.items()}
    assert found == {
        "token_embd.weight": "Q8_0",
        "blk.0.attn_norm.weight": "F32",
        "blk.0.attn_q.weight": "Q4_K",
        "blk.0.attn_k.weight": "Q4_K",
        "blk.0.attn_v.weight": "Q4_K",
        "blk.0.attn_output.weight": "Q4_K",
        "blk.0.ffn_norm.weight": "F32",
        "blk.0.ffn_gate_exps.weight": "Q4_K",
        "blk.0.ffn_up_exps.weight": "Q5_0",
        "blk.0.ffn_down_exps.weight": "Q4_K",
        "blk.0.ffn_gate_inp.weight": "F32",
        "output_norm.weight": "F32",
        "output.weight": "Q8_0",
    }


def test_a_matrix_whose_rows_are_not_whole_blocks_stays_as_it_is() -> None:
    model = toy_decoder(layers=1, width=64, hidden=72)
    tensors = quantized(model, "Q4_0", PLUGINS).tensors
    assert tensors["blk.0.ffn_down.weight"] is model.tensors["blk.0.ffn_down.weight"]
    assert tensors["blk.0.ffn_up.weight"].dtype.name == "Q4_0"


def test_what_became_of_the_matrices_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "zigai"):
        quantized(MODEL, "Q4_0", PLUGINS)
    assert caplog.messages == ["toy-llama: 2 matrices as Q8_0, 7 matrices as Q4_0"]


@pytest.mark.parametrize("source", ["F64", "F32", "F16", "BF16"])
def test_some_rows_are_those_of_the_whole_with_any_number_of_threads(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zigai_core.api.quantizing._ELEMENTS", 640)
    values = np.random.default_rng(2).standard_normal((37, 64)).astype(np.float32)
    dtype = DTYPES[source]
    data = values.astype("<f8").view(np.uint8) if source == "F64" else dtype.from_float32(values)
    stored = TensorInfo("a.weight", (37, 64), dtype, data.reshape(-1), identity="file")
    model = dataclasses.replace(MODEL, tensors={"a.weight": stored})
    expected = DTYPES["Q8_0"].from_float32(stored.to_float32()).reshape(37, -1)
    for threads in (1, 2, 5):
        tensor = quantized(model, "Q8_0", PLUGINS, threads).tensors["a.weight"]
        assert isinstance(tensor, ComputedTensor)
        for start, stop in ((0, 37), (0, 1), (9, 31), (36, 37)):
            np.testing.assert_array_equal(tensor.row_data(start, stop), expected[start:stop].reshape(-1))
        assert tensor.identity == "encoded as Q8_0, version 1 (file)"


def test_a_model_without_floats_is_loaded_as_it_is_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    model = toy_decoder(layers=1, width=64, hidden=64, dtype="Q5_1")
    loaded = assemble(model, quantize="Q8_0", plugins=PLUGINS)
    np.testing.assert_array_equal(loaded.logits([1, 2]), assemble(model, plugins=PLUGINS).logits([1, 2]))
    assert caplog.messages[0] == (
        "quantize Q8_0 changes nothing: toy-llama has no matrix to quantise: they are stored as Q5_1"
    )


def test_rows_that_are_no_whole_blocks_and_no_matrices_at_all_are_other_reasons(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def a_model(*shape: int) -> ModelDescriptor:
        tensor = TensorInfo("a.weight", shape, DTYPES["F32"], np.zeros(4 * int(np.prod(shape)), np.uint8))
        return dataclasses.replace(MODEL, tensors={"a.weight": tensor})

    quantized(a_model(4, 48), "Q8_0", PLUGINS)
    quantized(a_model(64), "Q8_0", PLUGINS)
    assert "to quantise: rows of 48 elements are not whole blocks of 32" in caplog.messages[0]
    assert "to quantise: all its tensors have one dimension" in caplog.messages[1]


def test_rows_that_get_another_type_are_told(caplog: pytest.LogCaptureFixture) -> None:
    model = toy_decoder(layers=1, width=64, hidden=256)
    quantized(model, "Q4_0", PLUGINS)
    assert not caplog.messages
    quantized(model, "Q4_K", PLUGINS)
    assert caplog.messages == [
        "toy-llama: of the matrices, 6 as Q8_0 instead of Q4_K: rows of 64 elements are no whole blocks of "
        "256; Q4_0 takes less memory"
    ]


def test_a_number_that_cannot_be_stored_names_its_tensor() -> None:
    tensors = dict(MODEL.tensors)
    broken = tensors["blk.0.attn_q.weight"].to_float32().copy()
    broken[3, 5] = np.inf
    tensors["blk.0.attn_q.weight"] = TensorInfo(
        "blk.0.attn_q.weight", broken.shape, DTYPES["F32"], broken.view(np.uint8).reshape(-1)
    )
    model = dataclasses.replace(MODEL, tensors=tensors)
    with pytest.raises(FormatError, match=r"^tensor 'blk\.0\.attn_q\.weight': inf is not finite, so Q4_0"):
        assemble(model, quantize="Q4_0", plugins=PLUGINS)


@pytest.mark.parametrize("value", ["Q6_K", "", 8])
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(UnsupportedError, match="quantize must be one of Q8_0, Q4_0, Q4_K, none, not "):
        LoadOptions(quantize=value)  # type: ignore[arg-type]


def test_the_case_of_a_type_does_not_matter_and_none_is_no_type() -> None:
    assert LoadOptions(quantize="q4_k").quantize == "Q4_K"
    assert LoadOptions(quantize="none").quantize is None
