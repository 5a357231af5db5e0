"""Layouts, settings and parts that are refused, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import FormatError, UnsupportedError
from zigai_safetensors import SafetensorsFormat, limits

Change = Callable[[Any], None]
MODULE = "the module 'model.layers.0.up'"


def setting(**values: Any) -> Change:
    return lambda case: case.config.update(values)


def weights(**values: Any) -> Change:
    return lambda case: case.config["config_groups"]["group_0"]["weights"].update(values)


def group(**values: Any) -> Change:
    return lambda case: case.config["config_groups"]["group_0"].update(values)


def part(name: str, tensor: Any) -> Change:
    """Replace a part, or remove it (None)."""
    return lambda case: case.parts.pop(name) if tensor is None else case.parts.update({name: tensor})


def ints(*shape: int) -> Any:
    return np.ones(shape, "<i4")


def halves(*shape: int) -> Any:
    return np.ones(shape, "<f2")


def floats(*shape: int) -> Any:
    return np.ones(shape, "<f4")


def float8(*shape: int, byte: int = 1) -> Any:
    return "F8_E4M3", np.full(shape, byte, np.uint8)


FORMAT: list[tuple[str, dict[str, Any], Change, str]] = [
    ("fp8", {}, part("weight_scale_inv", None), "has weight, but no weight_scale_inv"),
    ("fp8", {}, part("weight", None), "has weight_scale_inv, but no weight: the weight is not complete"),
    ("fp8", {}, part("weight", floats(40, 70)), "weight is F32, but must be F8_E4M3"),
    ("fp8", {}, part("weight", float8(70)), "weight has shape (70,), but must have two dimensions"),
    ("fp8", {}, part("weight_scale_inv", floats(3, 2)), "has shape (3, 2), but (3, 3) is needed"),
    (
        "fp8",
        {},
        part("weight_scale_inv", ints(3, 3)),
        "weight_scale_inv is I32, but must be F16 or BF16 or F32",
    ),
    ("fp8", {}, part("weight_scale", floats(3, 3)), "has both weight_scale_inv and weight_scale"),
    ("fp8", {}, setting(weight_block_size=None), "weight_scale_inv has shape (3, 3), but (1,) is needed"),
    ("fp8", {}, setting(weight_block_size=[16, 0]), "weight_block_size is [16, 0], but must be two"),
    ("fp8", {}, setting(weight_block_size=[16]), "weight_block_size is [16], but must be two"),
    ("fp8", {}, setting(modules_to_not_convert="up"), "must be a list of names"),
    (
        "fp8",
        {},
        setting(modules_to_not_convert=["model.layers.0"]),
        "lists 'model.layers.0' as not quantised",
    ),
    ("fp8", {}, setting(ignored_layers=["model.layers.*.up"]), "lists 'model.layers.*.up' as not quantised"),
    ("mxfp4", {}, part("_scales", None), "but no 'model.layers.0.experts.up_scales'"),
    ("mxfp4", {}, part("_blocks", None), "but no 'model.layers.0.experts.up_blocks'"),
    ("mxfp4", {}, part("_scales", np.ones((3, 5, 2), np.uint8)), "its blocks have shape (3, 5, 3, 16)"),
    ("mxfp4", {}, part("_blocks", np.ones((3, 5, 3, 8), np.uint8)), "needed are [..., o, n, 16]"),
    ("mxfp4", {}, part("_scales", ints(3, 5, 3)), "is I32, but must be U8"),
    ("mxfp4", {}, setting(modules_to_not_convert=["model.layers.*.experts"]), "as not quantised"),
    ("awq", {}, part("qweight", None), "has qzeros, scales, but no qweight"),
    ("awq", {}, part("qzeros", None), "has qweight, scales, but no qzeros"),
    ("awq", {}, part("scales", None), "has qweight, qzeros, but no scales"),
    ("awq", {}, part("qweight", ints(96)), "qweight has shape (96,), but must have two dimensions"),
    ("awq", {}, part("qweight", floats(96, 3)), "qweight is F32, but must be I32"),
    ("awq", {}, part("qzeros", ints(3, 2)), "qzeros has shape (3, 2), but (3, 3) is needed"),
    ("awq", {}, part("scales", halves(2, 24)), "scales has shape (2, 24), but (3, 24) is needed"),
    (
        "awq",
        {},
        part("weight", floats(24, 96)),
        "holds 'model.layers.0.up.weight' both whole and in quantised",
    ),
    ("awq", {}, setting(zero_point=False), "zero_point is false, but qzeros holds others than 8"),
    ("awq", {}, setting(zero_point=1), "zero_point is 1, but must be true or false"),
    ("awq", {}, setting(group_size=0), "group_size is 0, but must be -1 or a positive number"),
    ("awq", {}, setting(group_size="32"), "group_size is '32', but must be -1"),
    ("awq", {}, setting(modules_to_not_convert=["model.layers.0.up"]), "as not quantised, but the files"),
    ("gptq", {}, part("qzeros", None), "but no qzeros"),
    ("gptq", {}, part("g_idx", ints(5)), "g_idx has shape (5,), but (96,) is needed"),
    ("gptq", {}, part("qweight", ints(12, 20)), "qweight has 20 columns, but they fill no words of qzeros"),
    ("gptq", {}, setting(sym=True), "sym is true, but qzeros holds zero points other than 8"),
    ("gptq", {}, setting(format="gptq_v2", checkpoint_format="gptq"), "format and checkpoint_format differ"),
    ("gptq", {}, setting(group_size=None), "group_size is None"),
    ("packed", {}, part("weight_shape", None), "but no weight_shape"),
    ("packed", {}, part("weight_shape", np.array([13, 95], "<i8")), "neither 4 nor 8 bits fit"),
    ("packed", {}, part("weight_shape", np.array([13, -96], "<i8")), "weight_shape is [13, -96]"),
    (
        "packed",
        {},
        part("weight_shape", np.array([12, 96], "<i8")),
        "weight_shape is [12, 96], but weight_packed",
    ),
    ("packed", {}, part("weight_scale", floats(13, 2)), "are in none of config_groups"),
    ("packed", {}, part("weight_scale", floats(12, 3)), "are in none of config_groups"),
    ("packed", {}, part("weight_zero_point", ints(2, 3)), "are in none of config_groups"),
    ("packed", {}, part("weight_packed", None), "weight_scale, weight_shape, but no weight"),
    ("packed", {}, part("weight", floats(13, 96)), "both whole and in quantised parts"),
    ("packed", {}, weights(group_size=64), "are in none of config_groups"),
    ("packed", {}, weights(num_bits=8), "are in none of config_groups"),
    ("packed", {}, weights(symmetric=False), "are in none of config_groups"),
    (
        "packed",
        {},
        weights(strategy="group", group_size=None),
        "strategy is group, which does not fit its size",
    ),
    ("packed", {}, weights(block_structure=[1, 2]), "strategy is group, which does not fit its size"),
    ("packed", {}, group(weights=[]), "weights is [], but must be an object"),
    ("packed", {}, setting(config_groups=[1]), "config_groups is [1], but must be an object"),
    ("packed", {}, setting(config_groups=None), "are in none of config_groups"),
    (
        "packed",
        {},
        setting(ignore=["model.layers.0.up"]),
        "ignore lists 'model.layers.0.up' as not quantised",
    ),
    ("packed", {"points": "other"}, part("weight_zero_point", ints(1, 3)), "has shape (1, 3), but (2, 3) is"),
    (
        "packed",
        {"points": "other"},
        part("weight_zero_point", np.ones((13, 3), "|u1")),
        "is U8, but must be I32",
    ),
    ("float8", {}, part("weight_scale", None), "has weight, but no weight_scale"),
    (
        "float8",
        {},
        part("weight_scale", floats(5, 1)),
        "weight has shape (6, 20) and weight_scale (5, 1), which none",
    ),
    ("float8", {}, part("weight", floats(6, 20)), "weight is F32, but must be F8_E4M3"),
    (
        "float8",
        {},
        part("weight_zero_point", ints(1, 1)),
        "weight_zero_point does not belong to a weight in F8",
    ),
]
UNSUPPORTED: list[tuple[str, dict[str, Any], Change, str]] = [
    ("fp8", {}, setting(fmt="e5m2"), "fmt is 'e5m2', which is not supported; it must be 'e4m3'"),
    (
        "fp8",
        {},
        part("weight", ("F8_E5M2", np.ones((40, 70), np.uint8))),
        "weight is F8_E5M2, of which no layout",
    ),
    ("fp8", {}, part("weight_scale_inv", np.ones((3, 3), np.uint8)), "weight_scale_inv is U8; supported are"),
    (
        "fp8",
        {},
        part("weight_scale_inv", ("F8_E8M0", np.ones((3, 3), np.uint8))),
        "weight_scale_inv is F8_E8M0",
    ),
    ("fp8", {}, setting(activation_scheme="other"), "activation_scheme is 'other'"),
    ("fp8", {}, setting(expert_dtype="fp4"), "expert_dtype is 'fp4', which is not supported"),
    ("fp8", {}, setting(strange=3), "quantization_config.strange is 3, which is not known and may change"),
    ("mxfp4", {}, setting(strange=[1]), "quantization_config.strange is [1], which is not known"),
    ("awq", {}, setting(bits=3), "bits is 3, which is not supported; it must be 4"),
    ("awq", {}, setting(bits=True), "bits is True, which is not supported"),
    ("awq", {}, setting(version="GEMV"), "version is 'GEMV', which is not supported; it must be 'gemm'"),
    ("awq", {}, setting(group_size=16), "group_size is 16; only whole rows and multiples of 32"),
    ("awq", {}, setting(dynamic={"a": 1}), "dynamic is {'a': 1}, which is not known"),
    ("awq", {"i": 80, "group": -1}, setting(), "rows have 80 elements; only multiples of 32"),
    ("gptq", {}, setting(bits=2), "bits is 2, which is not supported; it must be 4 or 8"),
    ("gptq", {}, setting(bits=None), "bits is None, which is not supported"),
    (
        "gptq",
        {},
        setting(checkpoint_format="marlin"),
        "checkpoint_format is 'marlin', which is not supported",
    ),
    ("gptq", {}, setting(pack_dtype="int64"), "pack_dtype is 'int64'"),
    ("gptq", {}, setting(rotation="hadamard"), "rotation is 'hadamard', which is not known"),
    (
        "gptq",
        {},
        part("g_idx", np.arange(96, dtype="<i4")[::-1] // 32),
        "g_idx gives input 0 another group than 0",
    ),
    ("gptq", {"bits": 8}, setting(), "8 bits with zero points other than 128 are not supported"),
    ("packed", {"bits": 8, "points": "other"}, setting(), "8 bits with zero points other than 128"),
    ("packed", {}, setting(format="int-quantized"), "format is 'int-quantized', which is not supported"),
    ("packed", {}, setting(format="marlin-24"), "format is 'marlin-24', which is not supported"),
    ("packed", {}, setting(format="nvfp4-pack-quantized"), "format is 'nvfp4-pack-quantized'"),
    ("packed", {}, group(format="naive-quantized"), "format is 'naive-quantized', which is not supported"),
    ("packed", {}, setting(sparsity_config={"format": "x"}), "sparsity_config is {'format': 'x'}, which is"),
    ("packed", {}, setting(transform_config={"a": 1}), "transform_config is {'a': 1}, which is not known"),
    ("packed", {}, weights(num_bits=3), "weights.num_bits is 3, which is not supported; it must be 4 or 8"),
    (
        "packed",
        {},
        weights(type="float"),
        "weights.type is 'float', which is not supported; it must be 'int'",
    ),
    ("packed", {}, weights(dynamic=True), "weights.dynamic is True, which is not supported"),
    ("packed", {}, weights(strategy="tensor_group"), "strategy is 'tensor_group', which is not supported"),
    ("packed", {}, weights(strange=1), "group_0.weights.strange is 1, which is not known"),
    ("packed", {}, group(strange=1), "config_groups.group_0.strange is 1, which is not known"),
    (
        "packed",
        {},
        part("weight_g_idx", np.arange(96, dtype="<i4")[::-1] // 32),
        "weight_g_idx reorders the inputs",
    ),
    ("float8", {}, weights(symmetric=False), "weights.symmetric is false, which float-quantized does not"),
    ("float8", {}, weights(num_bits=4), "weights.num_bits is 4, which is not supported; it must be 8"),
]
SIZES: dict[str, dict[str, Any]] = {
    "fp8": {"o": 40, "i": 70, "block": (16, 32)},
    "awq": {"o": 24, "i": 96, "group": 32},
    "gptq": {"o": 24, "i": 96, "group": 32},
    "packed": {"o": 13, "i": 96, "group": 32},
    "float8": {"o": 6, "i": 20, "strategy": "channel"},
}


def changed(layouts: Any, layout: str, sizes: dict[str, Any], change: Change) -> Any:
    case = layouts.mxfp4(3, 5, 96) if layout == "mxfp4" else getattr(layouts, layout)(**SIZES[layout] | sizes)
    change(case)
    return case


@pytest.mark.parametrize(("layout", "sizes", "change", "error"), FORMAT, ids=[each[3] for each in FORMAT])
def test_parts_and_settings_that_do_not_agree_are_named(
    layout: str, sizes: dict[str, Any], change: Change, error: str, layouts: Any, stored: Any, tmp_path: Path
) -> None:
    with pytest.raises(FormatError) as caught:
        stored.read(changed(layouts, layout, sizes, change))
    assert error in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("layout", "sizes", "change", "error"), UNSUPPORTED, ids=[each[3] for each in UNSUPPORTED]
)
def test_settings_that_are_not_supported_are_named(
    layout: str, sizes: dict[str, Any], change: Change, error: str, layouts: Any, stored: Any, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedError) as caught:
        stored.read(changed(layouts, layout, sizes, change))
    assert error in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("layout", ["fp8", "mxfp4", "awq", "gptq", "packed", "float8"])
def test_settings_without_a_value_or_an_effect_are_accepted(layout: str, layouts: Any, stored: Any) -> None:
    case = changed(layouts, layout, {}, setting(strange=None, other=False, list=[], dequantize=True))
    assert stored.read(case).dtype.name == case.kind


@pytest.mark.parametrize("method", ["bitsandbytes", "hqq", "aqlm", "fbgemm_fp8", "quark", "eetq"])
def test_other_methods_are_named_with_what_to_do(method: str, folder: Callable[..., Path]) -> None:
    with pytest.raises(UnsupportedError) as caught:
        SafetensorsFormat().read(folder(quantization_config={"quant_method": method, "load_in_4bit": True}))
    assert f"config.json: quantization_config.quant_method is '{method}', which is not supported" in str(
        caught.value
    )
    assert "look for the model without quantisation, or for a GGUF file of it" in str(caught.value)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"load_in_4bit": True}, "quant_method is None, so the layout is not known"),
        ({"quant_method": 4}, "quant_method is 4, so the layout is not known"),
        ([1], "quantization_config is [1], but must be an object"),
        ("awq", "quantization_config is 'awq', but must be an object"),
    ],
)
def test_a_quantization_config_without_a_method_is_named(
    value: Any, error: str, folder: Callable[..., Path]
) -> None:
    with pytest.raises(FormatError) as caught:
        SafetensorsFormat().read(folder(quantization_config=value))
    assert error in str(caught.value)


@pytest.mark.parametrize("value", [None, {}])
def test_quantised_parts_without_a_quantization_config_are_named(
    value: Any, layouts: Any, stored: Any
) -> None:
    for layout in ("awq", "gptq", "packed", "mxfp4"):
        case = changed(layouts, layout, {}, setting())
        case.config = {}
        path = stored.write(case)
        if value is None:
            config = (path / "config.json").read_text().replace('"quantization_config": {}', '"empty": {}')
            (path / "config.json").write_text(config)
        with pytest.raises(
            FormatError, match=r"config\.json: has no quantization_config, but the files hold 'model"
        ):
            SafetensorsFormat().read(path)


def test_float8_without_a_quantization_config_is_named(layouts: Any, stored: Any) -> None:
    case = layouts.fp8(6, 20, None)
    case.config = {}
    with pytest.raises(
        UnsupportedError, match=r"'blk\.0\.ffn_up\.weight' has elements of type F8_E4M3, which are"
    ):
        stored.read(case)


def test_bytes_that_belong_to_no_layout_are_named(layouts: Any, stored: Any) -> None:
    with pytest.raises(
        UnsupportedError, match=r"'extra' has elements of type U8, which are supported only as"
    ):
        stored.read(layouts.awq(24, 96, 32), {"extra": np.ones(3, "|u1")})


@pytest.mark.parametrize(
    ("layout", "change", "error"),
    [
        ("fp8", part("weight", float8(40, 70, byte=0x7F)), "'model.layers.0.up.weight' holds NaN"),
        ("fp8", part("weight", float8(40, 70, byte=0xFF)), "'model.layers.0.up.weight' holds NaN"),
        (
            "fp8",
            part("weight_scale_inv", floats(3, 3) * np.float32(np.inf)),
            "a scale of 'model.layers.0.up.weight'",
        ),
        ("fp8", part("weight_scale_inv", floats(3, 3) * np.float32(3e38)), "is too large for BF16"),
        ("float8", part("weight", float8(6, 20, byte=0x7F)), "'model.layers.0.up.weight' holds NaN"),
        ("mxfp4", part("_scales", np.full((3, 5, 3), 255, np.uint8)), "a scale is NaN"),
        ("awq", part("scales", halves(3, 24) * np.float16(np.nan)), "a scale is infinite or NaN"),
        ("gptq", part("scales", halves(3, 24) * np.float16(np.inf)), "a scale is infinite or NaN"),
    ],
)
def test_numbers_that_no_weight_has_are_named_when_computed(
    layout: str, change: Change, error: str, layouts: Any, stored: Any, tmp_path: Path
) -> None:
    tensor = stored.read(changed(layouts, layout, {}, change))
    with pytest.raises(FormatError) as caught:
        _ = tensor.data
    assert error in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_zero_points_that_implementations_read_differently_are_named(layouts: Any, stored: Any) -> None:
    case = layouts.gptq(24, 96, 32)
    case.parts["qzeros"][0, 0] = -1  # 15 in every place
    tensor = stored.read(case)
    with pytest.raises(
        UnsupportedError, match="qzeros holds 15, which implementations of this format read diff"
    ):
        _ = tensor.data


def test_desc_act_needs_a_g_idx_that_keeps_the_order(layouts: Any, stored: Any) -> None:
    case = layouts.gptq(24, 96, 32)
    assert stored.read(case, desc_act=True).dtype.name == "Q4_1"
    del case.parts["g_idx"]
    assert stored.read(case).dtype.name == "Q4_1"
    with pytest.raises(FormatError, match="desc_act is true, but there is no g_idx"):
        stored.read(case, desc_act=True)


def test_actorder_needs_a_group_index_unless_the_order_was_restored(layouts: Any, stored: Any) -> None:
    def read(order: object, with_index: bool = False) -> Any:
        case = layouts.packed(8, 64, 32)
        weights = case.config["config_groups"]["group_0"]["weights"]
        weights["actorder"] = order
        if with_index:
            case.parts["weight_g_idx"] = np.arange(64, dtype="<i4") // 32
        return stored.read(case)

    for order in ("weight", "static", None, False):
        assert read(order).dtype.name == "Q4_0"
    for order in ("group", "dynamic", True):
        with pytest.raises(
            FormatError, match="actorder says that inputs were sorted, but there is no weight"
        ):
            read(order)
        assert read(order, with_index=True).dtype.name == "Q4_0"
    with pytest.raises(UnsupportedError, match="actorder is 'other', which is not supported"):
        read("other")


def test_a_minimum_beyond_float16_is_named(layouts: Any, stored: Any) -> None:
    case = layouts.awq(8, 32, 32)
    case.parts["scales"] = np.full((1, 8), 6e4, "<f2")
    with pytest.raises(UnsupportedError, match="a zero point times its scale is beyond the range of float16"):
        _ = stored.read(case).data


def test_a_shape_that_fits_two_blocks_is_named(layouts: Any, stored: Any) -> None:
    case = layouts.float8(20, 20, "block", (16, 16))
    groups = case.config["config_groups"]
    weights = groups["group_0"]["weights"]
    groups["group_1"] = {"weights": {**weights, "block_structure": [12, 16]}}
    with pytest.raises(FormatError, match="which several of config_groups give"):
        stored.read(case)


@pytest.mark.parametrize("layout", ["awq", "gptq", "packed", "fp8", "mxfp4"])
def test_a_row_longer_than_any_known_is_refused(
    layouts: Any, stored: Any, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: dict[str, tuple[Any, ...]] = {
        "awq": (8, 64, 32),
        "gptq": (8, 64, 32),
        "packed": (8, 64, 32),
        "fp8": (8, 64, None),
        "mxfp4": (3, 64),
    }
    case = getattr(layouts, layout)(*sizes[layout])
    stored.read(case)
    monkeypatch.setattr(limits, "ROW", 63)
    with pytest.raises(FormatError, match="rows have 64 elements; at most 63 are read"):
        stored.read(case)
