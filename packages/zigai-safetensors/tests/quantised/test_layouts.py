"""The weights of each layout are those of its description."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.descriptor import ComputedTensor
from zigai_core.contracts.errors import FormatError, UnsupportedError
from zigai_core.contracts.mapped_file import MappedFile
from zigai_safetensors import SafetensorsFormat

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "fp8": ("fp8", {"o": 40, "i": 70, "block": (16, 32)}),
    "fp8, one row of blocks": ("fp8", {"o": 5, "i": 9, "block": (128, 128)}),
    "fp8, scales in BF16": ("fp8", {"o": 9, "i": 32, "block": (4, 16), "kind": "BF16"}),
    "fp8, scales in F16": ("fp8", {"o": 9, "i": 32, "block": (4, 16), "kind": "F16"}),
    "fp8, one scale": ("fp8", {"o": 6, "i": 20, "block": None}),
    "float-quantized, one scale": ("float8", {"o": 6, "i": 20, "strategy": "tensor"}),
    "float-quantized, rows": ("float8", {"o": 6, "i": 20, "strategy": "channel"}),
    "float-quantized, blocks": ("float8", {"o": 20, "i": 40, "strategy": "block", "block": (8, 16)}),
    "awq": ("awq", {"o": 24, "i": 96, "group": 32}),
    "awq, a short group": ("awq", {"o": 16, "i": 96, "group": 64}),
    "awq, whole rows": ("awq", {"o": 16, "i": 64, "group": -1}),
    "awq, zero points 8": ("awq", {"o": 16, "i": 64, "group": 32, "middle": True}),
    "gptq": ("gptq", {"o": 24, "i": 96, "group": 32}),
    "gptq, a large group": ("gptq", {"o": 8, "i": 64, "group": 128}),
    "gptq, v2": ("gptq", {"o": 16, "i": 64, "group": 32, "v2": True}),
    "gptq, symmetric": ("gptq", {"o": 16, "i": 64, "group": 32, "middle": True}),
    "gptq, symmetric, whole rows": ("gptq", {"o": 16, "i": 64, "group": -1, "middle": True}),
    "gptq, symmetric, v2": ("gptq", {"o": 16, "i": 64, "group": 32, "middle": True, "v2": True}),
    "gptq, 8 bits": ("gptq", {"o": 12, "i": 64, "group": 32, "bits": 8, "middle": True}),
    "pack-quantized": ("packed", {"o": 13, "i": 96, "group": 32}),
    "pack-quantized, rows": ("packed", {"o": 13, "i": 96, "group": -1}),
    "pack-quantized, zero points": ("packed", {"o": 13, "i": 96, "group": 32, "points": "other"}),
    "pack-quantized, rows with zero points": ("packed", {"o": 16, "i": 64, "group": -1, "points": "other"}),
    "pack-quantized, zero points 8": ("packed", {"o": 13, "i": 96, "group": 32, "points": "middle"}),
    "pack-quantized, 8 bits": ("packed", {"o": 6, "i": 64, "group": 64, "bits": 8}),
    "mxfp4": ("mxfp4", {"o": 3, "i": 64}),
    "mxfp4, experts": ("mxfp4", {"experts": 3, "o": 5, "i": 96}),
}


def case_of(layouts: Any, name: str) -> Any:
    layout, sizes = CASES[name]
    if layout == "mxfp4":
        return layouts.mxfp4(*sizes.values())
    return getattr(layouts, layout)(**sizes)


@pytest.mark.parametrize("name", CASES)
def test_a_file_that_is_cut_short_after_all_checks_is_an_error(
    name: str, layouts: Any, stored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MappedFile, "check", lambda self: None)
    folder = stored.write(case_of(layouts, name))
    tensors = SafetensorsFormat().read(folder).tensors
    tensor = next(tensor for tensor in tensors.values() if isinstance(tensor, ComputedTensor))
    os.truncate(folder / "model.safetensors", 0)
    with pytest.raises(FormatError, match=r"safetensors: byte \d+: cannot be read"):
        _ = tensor.data


@pytest.mark.parametrize("name", CASES)
def test_a_weight_has_the_values_of_the_description(name: str, layouts: Any, stored: Any) -> None:
    case = case_of(layouts, name)
    tensor = stored.read(case)
    assert (tensor.dtype.name, tensor.shape) == (case.kind, case.values.shape)
    assert np.all(np.abs(tensor.to_float32().astype(float) - case.values) <= case.bound)
    assert np.abs(case.values).max() > 0


@pytest.mark.parametrize(
    ("name", "layout"),
    {
        "fp8": "FP8",
        "float-quantized, rows": "compressed-tensors, float-quantized",
        "awq": "AWQ, 4 bits",
        "gptq, 8 bits": "GPTQ, 8 bits",
        "pack-quantized": "compressed-tensors, pack-quantized",
        "mxfp4": "MXFP4",
    }.items(),
)
def test_the_format_names_the_layout(name: str, layout: str, layouts: Any, stored: Any) -> None:
    folder = stored.write(case_of(layouts, name))
    assert SafetensorsFormat().read(folder).format == f"safetensors, quantised as {layout}"


@pytest.mark.parametrize("name", CASES)
def test_some_rows_are_those_of_the_whole(
    name: str, layouts: Any, stored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensor = stored.read(case_of(layouts, name))
    whole = tensor.data.copy().reshape(int(np.prod(tensor.shape[:-1])), -1)
    tensor.release()
    bounds = [
        *map(sorted, np.random.default_rng(3).integers(0, len(whole) + 1, (40, 2))),
        (0, len(whole)),
        (1, 1),
    ]
    for pieces in (False, True):
        if pieces:  # a call computes several
            for module, size in {"integers": 100, "float8": 100, "mxfp4": 3}.items():
                monkeypatch.setattr(f"zigai_safetensors.quantised.{module}._CHUNK", size)
        for start, stop in bounds:
            assert np.array_equal(tensor.row_data(start, stop), whole[start:stop].reshape(-1))


@pytest.mark.parametrize("name", CASES)
def test_opening_computes_no_weight_and_identity_names_the_parts(
    name: str, layouts: Any, stored: Any
) -> None:
    tensor = stored.read(case_of(layouts, name))
    assert not tensor._kept
    assert tensor.identity.count("model.safetensors") == len(tensor.sources)
    assert tensor.nbytes == tensor.data.nbytes


def test_stacked_fp8_weights_have_scales_for_each_matrix(layouts: Any, stored: Any) -> None:
    parts = [layouts.fp8(20, 40, (16, 32)) for _ in range(3)]
    whole = parts[0]
    for name, (kind, _) in {"weight": ("F8_E4M3", 0), "weight_scale_inv": ("F32", 0)}.items():
        arrays = [part.parts[name][1] if name == "weight" else part.parts[name] for part in parts]
        whole.parts[name] = (kind, np.stack(arrays))
    tensor = stored.read(whole)
    assert np.array_equal(tensor.to_float32(), np.stack([part.values for part in parts]))


def test_awq_without_zero_points_has_the_middle(layouts: Any, stored: Any) -> None:
    case = layouts.awq(16, 64, 32, middle=True)
    del case.parts["qzeros"]
    tensor = stored.read(case, zero_point=False)
    assert tensor.dtype.name == "Q4_0"
    assert np.array_equal(tensor.to_float32(), case.values)


def test_symmetric_gptq_that_stores_8_means_8(layouts: Any, stored: Any) -> None:
    case = layouts.gptq(16, 64, 32, middle=True)
    case.parts["qzeros"] = case.parts["qzeros"] + np.int32(0x11111111)
    assert np.array_equal(stored.read(case, checkpoint_format="gptq").to_float32(), case.values)


def test_one_scale_for_a_packed_weight(layouts: Any, stored: Any) -> None:
    case = layouts.packed(8, 64, -1)
    case.parts["weight_scale"] = np.full(1, 0.25, "<f4")
    case.config["config_groups"]["group_0"]["weights"]["strategy"] = "tensor"
    signed = [
        [(int(word) >> 4 * at & 15) - 8 for word in row for at in range(8)]
        for row in case.parts["weight_packed"]
    ]
    assert np.array_equal(stored.read(case).to_float32(), np.array(signed) * 0.25)


def test_the_name_of_autofp8_for_one_scale_is_known(layouts: Any, stored: Any) -> None:
    case = layouts.fp8(6, 20, None)
    case.parts["weight_scale"] = case.parts.pop("weight_scale_inv")
    case.parts["input_scale"] = np.ones(1, "<f4")
    tensor = stored.read(case, activation_scheme="static", ignored_layers=["lm_head"])
    assert np.array_equal(tensor.to_float32(), case.values)


def test_scales_of_caches_and_activations_are_left_out(layouts: Any, stored: Any, make: Any) -> None:
    more = {f"model.layers.0.{name}": np.ones(1, "<f4") for name in ("k_scale", "v_scale", "up.input_scale")}
    for case in (layouts.fp8(6, 20, None), layouts.float8(6, 20, "channel")):
        assert np.array_equal(stored.read(case, more).to_float32(), case.values)


def test_weights_that_are_not_quantised_stay_and_biases_too(layouts: Any, stored: Any, make: Any) -> None:
    bias = {"model.layers.0.up.bias": np.ones(24, "<f2")}
    model = SafetensorsFormat().read(stored.write(layouts.awq(24, 64, 32), bias))
    assert model.tensors["model.layers.0.up.bias"].dtype.name == "F16"
    other = model.tensors["blk.1.ffn_up.weight"]
    assert np.array_equal(other.to_float32(), make.tensors["model.layers.1.up.weight"])
    assert not [key for key in model.hyperparameters if key.startswith("config.")]


def test_experts_of_both_kinds_are_joined_as_one_type(layouts: Any, stored: Any) -> None:
    experts = [layouts.awq(16, 64, 32, middle=number != 1) for number in range(3)]
    more = {
        f"model.layers.0.experts.{number}.up.{part}": tensor
        for number, case in enumerate(experts)
        for part, tensor in case.parts.items()
    }
    tensors = SafetensorsFormat().read(stored.write(layouts.awq(8, 32, 32, middle=True), more)).tensors
    joined = tensors["blk.0.ffn_up_exps.weight"]
    assert (joined.dtype.name, joined.shape) == ("Q4_1", (3, 16, 64))
    found = joined.to_float32()
    for number, case in enumerate(experts):
        bound = experts[1].bound if number == 1 else 2.0**-20
        assert np.all(np.abs(found[number] - case.values) <= bound)
    part = joined.row_data(10, 40)
    assert np.array_equal(part, joined.data.reshape(48, -1)[10:40].reshape(-1))


def test_all_256_bytes_of_fp8_have_their_values(stored: Any, layouts: Any) -> None:
    case = layouts.fp8(1, 256, None)
    every = np.arange(256, dtype=np.uint8)
    every[every & 127 == 127] = 0
    case.parts |= {"weight": ("F8_E4M3", every.reshape(1, 256)), "weight_scale_inv": np.ones(1, "<f4")}
    found = stored.read(case).to_float32()[0]
    assert found[1] == 2.0**-9
    assert found[8] == 2.0**-6
    assert (found[0x38], found[0x39], found[0xB8]) == (1.0, 1.125, -1.0)
    assert (found[0x7E], found[0xFE]) == (448.0, -448.0)
    assert np.array_equal(found[:127], -found[128:255])
    assert np.all(np.diff(found[:127]) > 0)


def test_scales_that_float16_rounds_or_cannot_hold(layouts: Any, stored: Any) -> None:
    case = layouts.packed(8, 64, 32)
    exact = np.full((8, 2), 2.0**-24, "<f4")  # the smallest of float16
    case.parts["weight_scale"] = exact
    assert stored.read(case).to_float32().max() <= 7 * 2.0**-24
    case.parts["weight_scale"] = rounded = np.full((8, 2), 0.0123456, "<f4")
    signed = stored.read(case).to_float32() / 0.0123456
    assert np.abs(signed - np.round(signed)).max() < 8 * 2.0**-11
    for small in (1e-5, 1e-30):
        case.parts["weight_scale"] = np.full((8, 2), small, "<f4")
        of_integers = signed.round() * small
        assert np.abs(stored.read(case).to_float32() - of_integers).max() <= 8 * 2.0**-25
    case.parts["weight_scale"] = rounded.copy()
    case.parts["weight_scale"][3, 1] = 7e4
    tensor = stored.read(case)
    with pytest.raises(UnsupportedError, match=r"the scale [0-9e.+-]+ of .* is beyond the range of float16"):
        _ = tensor.data
    for wrong in (np.inf, np.nan):
        case.parts["weight_scale"][3, 1] = wrong
        with pytest.raises(FormatError, match="a scale is infinite or NaN"):
            _ = stored.read(case).data
