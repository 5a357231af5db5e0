"""Names of tensors and keys of configurations that `zig-ai new architecture --from-transformers` guesses."""

from __future__ import annotations

import pytest

from zigai_cli.new.config_keys import sorted_keys
from zigai_cli.new.tensor_names import guesses, pattern
from zigai_cli.new.tiny_sizes import tiny_sizes

# GGUF's names are those of gguf/tensor_mapping.py of llama.cpp, and of files that it converts.
NAMES = {
    "llama": {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.layers.{}.input_layernorm.weight": "blk.{}.attn_norm.weight",
        "model.layers.{}.self_attn.o_proj.bias": "blk.{}.attn_output.bias",
        "model.layers.{}.post_attention_layernorm.weight": "blk.{}.ffn_norm.weight",
        "model.layers.{}.mlp.down_proj.weight": "blk.{}.ffn_down.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    },
    "olmo2": {
        "model.layers.{}.self_attn.q_norm.weight": "blk.{}.attn_q_norm.weight",
        "model.layers.{}.post_attention_layernorm.weight": "blk.{}.post_attention_norm.weight",
        "model.layers.{}.post_feedforward_layernorm.weight": "blk.{}.post_ffw_norm.weight",
    },
    "gemma2": {
        "model.layers.{}.input_layernorm.weight": "blk.{}.attn_norm.weight",
        "model.layers.{}.post_attention_layernorm.weight": "blk.{}.post_attention_norm.weight",
        "model.layers.{}.pre_feedforward_layernorm.weight": "blk.{}.ffn_norm.weight",
        "model.layers.{}.post_feedforward_layernorm.weight": "blk.{}.post_ffw_norm.weight",
    },
    "phi3": {
        "model.layers.{}.self_attn.qkv_proj.weight": "blk.{}.attn_qkv.weight",
        "model.layers.{}.mlp.gate_up_proj.weight": "blk.{}.ffn_up.weight",
    },
    "gpt2": {
        "transformer.wte.weight": "token_embd.weight",
        "transformer.wpe.weight": "position_embd.weight",
        "transformer.h.{}.attn.c_proj.weight": "blk.{}.attn_output.weight",
        "transformer.h.{}.mlp.c_proj.weight": "blk.{}.ffn_down.weight",
        "transformer.ln_f.bias": "output_norm.bias",
    },
    "bert": {
        "embeddings.LayerNorm.weight": "token_embd_norm.weight",
        "encoder.layer.{}.attention.self.key.weight": "blk.{}.attn_k.weight",
        "encoder.layer.{}.attention.output.LayerNorm.weight": "blk.{}.attn_output_norm.weight",
        "encoder.layer.{}.output.LayerNorm.weight": "blk.{}.layer_output_norm.weight",
        "pooler.dense.weight": None,
    },
    "mixtral": {
        "model.layers.{}.block_sparse_moe.gate.weight": "blk.{}.ffn_gate_inp.weight",
        "model.layers.{}.block_sparse_moe.experts.[].w1.weight": "blk.{}.ffn_gate_exps.weight",
        "model.layers.{}.block_sparse_moe.experts.[].w2.weight": "blk.{}.ffn_down_exps.weight",
    },
    "names that two tensors would have": {
        "model.layers.{}.mlp.up_proj.weight": None,
        "model.layers.{}.mlp.gate_up_proj.weight": None,
        "model.layers.{}.mlp.gate": None,
        "model.layers.{}.mixer.A_log": None,
        "model.layers.{}.mixer.in_proj.weight": None,
    },
}


@pytest.mark.parametrize("family", NAMES)
def test_known_names_of_tensors_are_guessed_and_no_others(family: str) -> None:
    assert guesses(NAMES[family]) == NAMES[family]


def test_keys_of_a_configuration_are_sorted() -> None:
    config = {
        "architectures": ["StrangeModel"],
        "model_type": "strange",
        "of_transformers": 7,
        "n_embd": 32,
        "rms_norm_eps": 1e-2,
        "sliding_window": None,
        "hidden_act": "relu",
        "attn_pdrop": 0.1,
        "eos_token_id": 2,
        "attention_bias": True,
        "rotary_style": "odd",
        "unused_option": False,
        "rope_parameters": {"rope_type": "default"},
    }
    found = sorted_keys(config, {"of_transformers"})
    assert found.keys == {
        "n_embd": "embedding_length",
        "rms_norm_eps": "attention.layer_norm_rms_epsilon",
        "sliding_window": "attention.sliding_window",
    }
    assert found.required == {"hidden_act": "relu"}
    assert set(found.left_out) == {"attn_pdrop", "attention_bias"}
    assert found.unknown == {"rotary_style": "odd"}


def test_zero_is_a_value_of_a_key_and_null_false_and_empty_are_none() -> None:
    config = {"a": 0, "b": 0.0, "c": None, "d": False, "e": "", "f": [], "g": {}, "h": [0], "i": True}
    found = sorted_keys(config, set())
    assert list(found.unknown) == ["a", "b", "h", "i"]


@pytest.mark.parametrize(
    ("key", "is_of_projections"),
    [
        *((key, True) for key in ("attention_bias", "mlp_bias", "use_bias", "bias", "use_qkv_bias")),
        *((key, True) for key in ("add_bias_linear", "add_qkv_bias", "use_conv_bias", "lm_head_bias")),
        *((key, False) for key in ("router_bias", "relative_attention_bias", "logit_bias", "alibi_bias")),
    ],
)
def test_only_biases_of_projections_need_no_name(key: str, is_of_projections: bool) -> None:
    found = sorted_keys({key: True}, set())
    assert (key in found.left_out, key in found.unknown) == (is_of_projections, not is_of_projections)


def test_numbers_of_layers_and_experts_become_braces() -> None:
    assert pattern("model.layers.11.mlp.experts.3.w1.weight") == "model.layers.{}.mlp.experts.[].w1.weight"
    assert pattern("decoder.block.0.layer.1.norm.weight") == "decoder.block.{}.layer.1.norm.weight"
    assert pattern("lm_head.weight") == "lm_head.weight"


def test_sizes_are_made_tiny_and_what_has_no_value_keeps_none() -> None:
    small = {"hidden_size": 32, "num_attention_heads": 4, "rms_norm_eps": 1e-2}
    config = {
        **small,
        "head_dim": 128,
        "sliding_window": 4096,
        "num_experts": 64,
        "norm_epsilon": 1e-5,
        "pad_token_id": 32000,
        "bos_token_id": 1,
        "n_inner": None,
        "use_bias": True,
        "rope_theta": 10000.0,
    }
    assert tiny_sizes(config, small) == {
        "head_dim": 8,
        "sliding_window": 7,
        "num_experts": 4,
        "norm_epsilon": 1e-2,
        "pad_token_id": 0,
    }
