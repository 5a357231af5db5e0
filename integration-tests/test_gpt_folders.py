"""Folders of gpt-oss with experts in MXFP4 have the logits of those with whole numbers, and so have files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import zigai
from zigai_core.api.reading import read
from zigai_gguf.convert import convert

Array = np.ndarray[Any, Any]
WIDTH, HIDDEN, EXPERTS, LAYERS, VOCABULARY = 64, 96, 5, 2, 96
CONFIG = {  # the keys of openai/gpt-oss-20b
    "architectures": ["GptOssForCausalLM"],
    "attention_bias": True,
    "attention_dropout": 0.0,
    "eos_token_id": 2,
    "experts_per_token": 2,
    "head_dim": 16,
    "hidden_act": "silu",
    "hidden_size": WIDTH,
    "initial_context_length": 16,
    "initializer_range": 0.02,
    "intermediate_size": HIDDEN,
    "layer_types": ["sliding_attention", "full_attention"],
    "max_position_embeddings": 128,
    "model_type": "gpt_oss",
    "num_attention_heads": 4,
    "num_experts_per_tok": 2,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": 2,
    "num_local_experts": EXPERTS,
    "output_router_logits": False,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "beta_fast": 8.0,
        "beta_slow": 1.0,
        "factor": 8.0,
        "original_max_position_embeddings": 16,
        "rope_type": "yarn",
        "truncate": False,
    },
    "rope_theta": 150000,
    "router_aux_loss_coef": 0.9,
    "sliding_window": 5,
    "swiglu_limit": 7.0,
    "tie_word_embeddings": False,
    "use_cache": True,
    "vocab_size": VOCABULARY,
}
MXFP4 = {
    "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "lm_head"],
    "quant_method": "mxfp4",
}
IDS = [1, 5, 9, 20, 33, 7, 50, 12, 5, 6, 7, 8, 90, 91]
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


def write(path: Path, config: dict[str, Any], tensors: dict[str, Array]) -> None:
    header, data = {}, b""
    for name, array in tensors.items():
        kind = "U8" if array.dtype == np.uint8 else "F32"
        header[name] = {
            "dtype": kind,
            "shape": array.shape,
            "data_offsets": [len(data), len(data) + array.nbytes],
        }
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.mkdir()
    (path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    (path / "config.json").write_text(json.dumps(config))


def folders(path: Path) -> None:
    """Writes `quantised` and `whole`, which hold the same numbers."""
    chance = np.random.default_rng(5)

    def vector(*shape: int, scale: float = 0.3, middle: float = 0.0) -> Array:
        return chance.normal(middle, scale, shape).astype("<f4")

    plain = {"model.norm.weight": vector(WIDTH, middle=1.0)}
    for name in ("model.embed_tokens", "lm_head"):
        plain[f"{name}.weight"] = vector(VOCABULARY, WIDTH)
    quantised, whole = {}, {}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            plain[f"{at}{name}.weight"] = vector(WIDTH, middle=1.0)
        for name, o, i in (("q", 64, WIDTH), ("k", 32, WIDTH), ("v", 32, WIDTH), ("o", WIDTH, 64)):
            plain[f"{at}self_attn.{name}_proj.weight"] = vector(o, i)
            plain[f"{at}self_attn.{name}_proj.bias"] = vector(o)
        plain[f"{at}self_attn.sinks"] = vector(4, scale=1.0)
        plain[f"{at}mlp.router.weight"], plain[f"{at}mlp.router.bias"] = (
            vector(EXPERTS, WIDTH),
            vector(EXPERTS),
        )
        for name, o, i in (("gate_up_proj", 2 * HIDDEN, WIDTH), ("down_proj", WIDTH, HIDDEN)):
            inside = f"{at}mlp.experts.{name}"
            plain[f"{inside}_bias"] = vector(EXPERTS, o)
            four = chance.integers(0, 16, (EXPERTS, o, i)).astype(np.uint8)
            scales = chance.integers(122, 126, (EXPERTS, o, i // 32)).astype(np.uint8)
            quantised[f"{inside}_blocks"] = (four[..., ::2] | four[..., 1::2] << 4).reshape(
                EXPERTS, o, i // 32, 16
            )
            quantised[f"{inside}_scales"] = scales
            values = E2M1[four] * np.repeat(np.ldexp(np.float32(1), scales.astype(int) - 127), 32, axis=-1)
            whole[inside] = np.ascontiguousarray(values.swapaxes(1, 2).astype("<f4"))
    write(path / "quantised", {**CONFIG, "quantization_config": MXFP4}, plain | quantised)
    write(path / "whole", CONFIG, plain | whole)


def logits(path: Path, backend: str) -> Array:
    with zigai.load(path, backend=backend) as model:
        return np.array(model.logits(IDS))


def test_both_layouts_and_a_file_give_the_same_logits(tmp_path: Path) -> None:
    folders(tmp_path)
    stored = read(tmp_path / "quantised").tensors
    for part, shape in (("gate", (HIDDEN, WIDTH)), ("up", (HIDDEN, WIDTH)), ("down", (WIDTH, HIDDEN))):
        tensor = stored[f"blk.1.ffn_{part}_exps.weight"]
        assert (tensor.dtype.name, tensor.shape) == ("MXFP4", (EXPERTS, *shape))
    convert(read(tmp_path / "quantised"), tmp_path / "a.gguf")
    assert read(tmp_path / "a.gguf").tensors["blk.0.ffn_up_exps.weight"].dtype.name == "MXFP4"
    expected = logits(tmp_path / "whole", "numpy")
    assert np.ptp(expected) > 1
    for name in ("quantised", "a.gguf"):
        np.testing.assert_allclose(logits(tmp_path / name, "numpy"), expected, rtol=0, atol=1e-4)
    # The native backend rounds activations to eight bits for MXFP4, and to none for F32.
    np.testing.assert_array_equal(
        logits(tmp_path / "quantised", "native"), logits(tmp_path / "a.gguf", "native")
    )
    native = logits(tmp_path / "quantised", "native")
    assert np.linalg.norm(native - expected) < 0.05 * np.linalg.norm(expected)
