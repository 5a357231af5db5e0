"""Folders with quantised weights have the logits of the same folders with whole weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zigai
from zigai_core.api.reading import read

Array = np.ndarray[Any, Any]
Parts = dict[str, tuple[str, Array]]
CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 96,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
EXPERTS = {**CONFIG, "model_type": "mixtral", "num_local_experts": 3, "num_experts_per_tok": 2}
IDS = [1, 5, 9, 20, 33, 7, 50, 12, 5, 6, 7, 8, 90, 91]
NAMES = {"<f4": "F32", "<f2": "F16", "<i4": "I32", "<i8": "I64", "|u1": "U8"}


def named(array: Array) -> tuple[str, Array]:
    return NAMES[array.dtype.str], array


def packed(levels: Array, bits: int) -> Array:
    """Integers [n, k], packed along the last axis into words, the first in the lowest bits."""
    per = 32 // bits
    parts = levels.astype(np.uint32).reshape(len(levels), -1, per) << np.arange(0, 32, bits, dtype=np.uint32)
    return np.bitwise_or.reduce(parts, axis=-1).view("<i4")


def grid(chance: np.random.Generator, o: int, i: int, bits: int, middle: bool) -> tuple[Array, Array, Array]:
    """Integers [o, i], and zero points and scales [o, i / 32]."""
    half = 1 << (bits - 1)
    zeros = np.full((o, i // 32), half) if middle else chance.integers(half - 2, half + 3, (o, i // 32))
    scales = chance.uniform(0.5, 1.5, (o, i // 32)).astype("<f2") * np.float16(0.1 / half)
    return chance.integers(0, 2 * half, (o, i)), zeros, scales


def whole(q: Array, z: Array, s: Array) -> Array:
    return ((q - np.repeat(z, 32, 1)) * np.repeat(s.astype("<f4"), 32, 1)).astype("<f4")


def awq(chance: np.random.Generator, o: int, i: int, middle: bool) -> tuple[Parts, Array]:
    q, z, s = grid(chance, o, i, 4, middle)
    order = np.arange(o).reshape(-1, 8)[:, [0, 2, 4, 6, 1, 3, 5, 7]].reshape(-1)
    parts = {"qweight": packed(q[order].T, 4), "qzeros": packed(z[order].T, 4), "scales": s.T.copy()}
    return {name: named(array) for name, array in parts.items()}, whole(q, z, s)


def gptq(chance: np.random.Generator, o: int, i: int, middle: bool, bits: int = 4) -> tuple[Parts, Array]:
    q, z, s = grid(chance, o, i, bits, middle)
    parts = {
        "qweight": packed(q, bits).T.copy(),
        "qzeros": packed((z - 1).T, bits),
        "scales": s.T.copy(),
        "g_idx": np.arange(i, dtype="<i4") // 32,
    }
    return {name: named(array) for name, array in parts.items()}, whole(q, z, s)


def pack_quantized(chance: np.random.Generator, o: int, i: int, middle: bool) -> tuple[Parts, Array]:
    q, z, s = grid(chance, o, i, 4, middle)
    parts = {"weight_packed": packed(q, 4), "weight_scale": s, "weight_shape": np.array([o, i], "<i8")}
    if not middle:
        parts["weight_zero_point"] = packed(z.T, 4).T.copy()
    return {name: named(array) for name, array in parts.items()}, whole(q, z, s)


def float8(
    chance: np.random.Generator, o: int, i: int, name: str, scale: tuple[int, int]
) -> tuple[Parts, Array]:
    """Bytes with an exponent of 3 to 7, and powers of two as scales, so that BF16 is exact."""
    stored = (chance.integers(0, 40, (o, i)) + 24 | chance.integers(0, 2, (o, i)) << 7).astype(np.uint8)
    values = np.ldexp(1 + (stored & 7) / 8, (stored >> 3 & 15).astype(int) - 7) * np.where(stored >> 7, -1, 1)
    scales = np.ldexp(1, chance.integers(-3, 0, scale)).astype("<f4")
    of_all = np.repeat(np.repeat(scales, -(-o // scale[0]), 0)[:o], -(-i // scale[1]), 1)[:, :i]
    return {"weight": ("F8_E4M3", stored), name: named(scales)}, (values * of_all).astype("<f4")


def groups(layout: str, **weights: Any) -> dict[str, Any]:
    return {
        "quant_method": "compressed-tensors",
        "format": layout,
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
        "ignore": ["lm_head"],
    }


AWQ = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}
GPTQ = {"quant_method": "gptq", "group_size": 32, "desc_act": False}
INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32}
Make = Callable[[np.random.Generator, int, int], tuple[Parts, Array]]
CASES: dict[str, tuple[dict[str, Any], Make, str]] = {
    "awq": (AWQ, lambda chance, o, i: awq(chance, o, i, False), "Q4_1"),
    "awq, zero points 8": (AWQ, lambda chance, o, i: awq(chance, o, i, True), "Q4_0"),
    "awq, some zero points 8": (
        AWQ,
        lambda chance, o, i: awq(chance, o, i, bool(chance.integers(2))),
        "Q4_1",
    ),
    "gptq": ({**GPTQ, "bits": 4}, lambda chance, o, i: gptq(chance, o, i, False), "Q4_1"),
    "gptq, symmetric": (
        {**GPTQ, "bits": 4, "sym": True},
        lambda chance, o, i: gptq(chance, o, i, True),
        "Q4_0",
    ),
    "gptq, 8 bits": ({**GPTQ, "bits": 8}, lambda chance, o, i: gptq(chance, o, i, True, 8), "Q8_0"),
    "pack-quantized": (
        groups("pack-quantized", **INT4, symmetric=True),
        lambda chance, o, i: pack_quantized(chance, o, i, True),
        "Q4_0",
    ),
    "pack-quantized, zero points": (
        groups("pack-quantized", **INT4, symmetric=False),
        lambda chance, o, i: pack_quantized(chance, o, i, False),
        "Q4_1",
    ),
    "float-quantized": (
        groups("float-quantized", num_bits=8, type="float", strategy="channel"),
        lambda chance, o, i: float8(chance, o, i, "weight_scale", (o, 1)),
        "BF16",
    ),
    "fp8": (
        {"quant_method": "fp8", "weight_block_size": [32, 32], "modules_to_not_convert": ["lm_head"]},
        lambda chance, o, i: float8(chance, o, i, "weight_scale_inv", (-(-o // 32), -(-i // 32))),
        "BF16",
    ),
}


def write(path: Path, config: dict[str, Any], tensors: Parts) -> None:
    header, data = {}, b""
    for name, (kind, array) in tensors.items():
        offsets = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": offsets}
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.mkdir()
    (path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    (path / "config.json").write_text(json.dumps(config))


def modules(experts: bool) -> dict[str, tuple[int, int]]:
    """The quantised modules, with outputs and inputs."""
    found = {}
    for layer in range(2):
        at = f"model.layers.{layer}."
        found |= {f"{at}self_attn.{name}_proj": (64, 64) for name in "qo"}
        found |= {f"{at}self_attn.{name}_proj": (32, 64) for name in "kv"}
        if experts:
            for number in range(3):
                inside = f"{at}block_sparse_moe.experts.{number}."
                found |= {f"{inside}{name}": (96, 64) for name in ("w1", "w3")} | {f"{inside}w2": (64, 96)}
        else:
            found |= {f"{at}mlp.{name}_proj": (96, 64) for name in ("gate", "up")}
            found |= {f"{at}mlp.down_proj": (64, 96)}
    return found


@pytest.mark.parametrize("experts", [False, True], ids=["llama", "mixtral"])
@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_the_whole_weights(case: str, experts: bool, tmp_path: Path) -> None:
    config, make, kind = CASES[case]
    chance = np.random.default_rng(4)
    plain: Parts = {"model.norm.weight": named(np.ones(64, "<f4"))}
    for name in ("model.embed_tokens", "lm_head"):
        plain[f"{name}.weight"] = named(chance.normal(0, 0.3, (96, 64)).astype("<f4"))
    for layer in range(2):
        for name in ("input_layernorm", "post_attention_layernorm"):
            plain[f"model.layers.{layer}.{name}.weight"] = named(chance.uniform(0.5, 1.5, 64).astype("<f4"))
        if experts:
            router = chance.normal(0, 0.3, (3, 64)).astype("<f4")
            plain[f"model.layers.{layer}.block_sparse_moe.gate.weight"] = named(router)
    quantised, of_whole = dict(plain), dict(plain)
    for module, (o, i) in modules(experts).items():
        parts, weight = make(chance, o, i)
        quantised |= {f"{module}.{part}": tensor for part, tensor in parts.items()}
        of_whole[f"{module}.weight"] = named(weight)
    base = EXPERTS if experts else CONFIG
    write(tmp_path / "quantised", {**base, "quantization_config": config}, quantised)
    write(tmp_path / "whole", base, of_whole)

    stored = read(tmp_path / "quantised")
    assert stored.tensors["blk.1.attn_q.weight"].dtype.name == kind
    assert {tensor.dtype.name for tensor in stored.tensors.values()} == {kind, "F32"}
    wanted = zigai.load(tmp_path / "whole", backend="numpy", kv_dtype="F32").logits(IDS)
    got = zigai.load(tmp_path / "quantised", backend="numpy", kv_dtype="F32").logits(IDS)
    bound = 1e-3 if kind == "Q4_1" else 1e-5
    assert np.abs(got - wanted).max() <= bound * np.abs(wanted).max()


def test_the_native_backend_runs_every_type_that_layouts_become(tmp_path: Path) -> None:
    for case in ("awq", "gptq, symmetric", "gptq, 8 bits", "fp8"):
        config, make, _ = CASES[case]
        chance = np.random.default_rng(5)
        tensors: Parts = {"model.norm.weight": named(np.ones(64, "<f4"))}
        for name in ("model.embed_tokens", "lm_head"):
            tensors[f"{name}.weight"] = named(chance.normal(0, 0.3, (96, 64)).astype("<f4"))
        for layer in range(2):
            for name in ("input_layernorm", "post_attention_layernorm"):
                tensors[f"model.layers.{layer}.{name}.weight"] = named(np.ones(64, "<f4"))
        for module, (o, i) in modules(False).items():
            tensors |= {f"{module}.{part}": tensor for part, tensor in make(chance, o, i)[0].items()}
        path = tmp_path / case.replace(", ", "-")
        write(path, {**CONFIG, "quantization_config": config}, tensors)
        wanted, got = (zigai.load(path, backend=backend).logits(IDS) for backend in ("numpy", "native"))
        assert np.abs(got - wanted).max() <= 0.02 * np.abs(wanted).max(), case
