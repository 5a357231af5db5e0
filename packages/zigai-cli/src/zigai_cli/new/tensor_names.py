"""Guesses GGUF's names of the tensors of Hugging Face's models.

Sources: GGUF's names, gguf/constants.py and gguf/tensor_mapping.py of https://github.com/ggml-org/llama.cpp;
names of modules, the models of transformers. A name that is not in these tables is not guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_OUTSIDE = {
    "token_embd": "embed_tokens wte word_embeddings embed_in tok_embeddings",
    "position_embd": "wpe position_embeddings embed_positions",
    "token_types": "token_type_embeddings",
    "token_embd_norm": "embeddings.LayerNorm word_embeddings_layernorm",
    "output_norm": "norm ln_f final_layernorm final_layer_norm",
    "output": "lm_head embed_out",
}
"""By GGUF's name, the last parts of the names of modules outside of layers."""

_ATTENTION = frozenset({"self_attn", "attn", "attention", "self_attention"})
_FEED_FORWARD = frozenset({"mlp", "ffn", "feed_forward", "block_sparse_moe", "moe"})

_LAYER = {
    "attn_norm": "input_layernorm ln_1 attention_norm",
    "ffn_norm": "ln_2 ffn_norm pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
    "attn_q": "attn.q_proj attn.self.query attn.wq",
    "attn_k": "attn.k_proj attn.self.key attn.wk",
    "attn_v": "attn.v_proj attn.self.value attn.wv",
    "attn_qkv": "attn.qkv_proj attn.c_attn attn.query_key_value",
    "attn_output": "attn.o_proj attn.out_proj attn.dense attn.c_proj attn.output.dense attn.wo",
    "attn_output_norm": "attn.output.LayerNorm",
    "attn_q_norm": "attn.q_norm attn.q_layernorm",
    "attn_k_norm": "attn.k_norm attn.k_layernorm",
    "attn_q_a": "attn.q_a_proj",
    "attn_q_b": "attn.q_b_proj",
    "attn_q_a_norm": "attn.q_a_layernorm",
    "attn_kv_a_mqa": "attn.kv_a_proj_with_mqa",
    "attn_kv_b": "attn.kv_b_proj",
    "attn_kv_a_norm": "attn.kv_a_layernorm",
    "ffn_gate": "mlp.gate_proj mlp.w1",
    "ffn_up": (
        "mlp.up_proj mlp.w3 mlp.gate_up_proj mlp.c_fc mlp.fc1 mlp.fc_in mlp.dense_h_to_4h intermediate.dense"
    ),
    "ffn_down": "mlp.down_proj mlp.w2 mlp.c_proj mlp.fc2 mlp.fc_out mlp.dense_4h_to_h output.dense",
    "layer_output_norm": "output.LayerNorm",
    "ffn_gate_inp": "mlp.gate mlp.router",
    "ffn_gate_exps": "mlp.experts.[].gate_proj mlp.experts.[].w1",
    "ffn_up_exps": "mlp.experts.[].up_proj mlp.experts.[].w3",
    "ffn_down_exps": "mlp.experts.[].down_proj mlp.experts.[].w2",
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj mlp.shared_experts.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj mlp.shared_experts.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj mlp.shared_experts.down_proj",
}
"""By GGUF's name in a layer, the modules of a layer; attention is `attn`, the feed-forward part `mlp`."""

_OUTSIDE_NAMES = {theirs: ours for ours, names in _OUTSIDE.items() for theirs in names.split()}
_LAYER_NAMES = {theirs: ours for ours, names in _LAYER.items() for theirs in names.split()}


def pattern(name: str) -> str:
    """The name of a tensor with `{}` for the number of its layer and `[]` for that of its expert.

    >>> pattern("model.layers.1.mlp.experts.3.up_proj.weight")
    'model.layers.{}.mlp.experts.[].up_proj.weight'
    """
    parts = name.split(".")
    numbers = [index for index, part in enumerate(parts) if part.isdigit()]
    for index in numbers:
        if index and parts[index - 1] == "experts":
            parts[index] = "[]"
        elif index == numbers[0]:
            parts[index] = "{}"
    return ".".join(parts)


def guesses(patterns: Iterable[str]) -> dict[str, str | None]:
    """GGUF's name of each tensor; None for one that is not known, or whose name another one has, too."""
    names = list(patterns)
    found = {name: _guess(name, names) for name in names}
    count = Counter(found.values())
    return {name: ours if count[ours] == 1 else None for name, ours in found.items()}


def _guess(name: str, names: Iterable[str]) -> str | None:
    module, _, kind = name.rpartition(".")
    if kind not in ("weight", "bias"):
        return None
    before, layer, rest = module.partition(".{}.")
    if not layer:
        parts = before.split(".")
        known = (_OUTSIDE_NAMES.get(".".join(parts[-count:])) for count in (2, 1))
        ours = next(filter(None, known), None)
        return f"{ours}.{kind}" if ours else None
    ours = _in_layer(rest, names)
    return f"blk.{{}}.{ours}.{kind}" if ours else None


def _in_layer(module: str, names: Iterable[str]) -> str | None:
    if module == "post_attention_layernorm":
        # Before the feed-forward part, or after attention where it has a norm of its own or all norms follow.
        has = {name.rpartition(".{}.")[2].rpartition(".")[0] for name in names}
        after = "pre_feedforward_layernorm" in has or "input_layernorm" not in has
        return "post_attention_norm" if after else "ffn_norm"
    first, dot, rest = module.partition(".")
    part = "attn" if first in _ATTENTION else "mlp" if first in _FEED_FORWARD else first
    return _LAYER_NAMES.get(part + dot + rest)
