"""The recorder of oracles refuses a family that reads settings otherwise than transformers, by the setting.

`nox -s oracle` runs this.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from zigai_core.api.registry import Plugins
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.testing.oracles.record import record

ROTATED = ("partial_rotary_factor", "head_dim", "hidden_size", "num_attention_heads")


def rotated(share: float, size: int) -> dict[str, int]:
    """The rotated elements of a head, in pairs, where transformers has frequencies of an odd number."""
    count = int(share * size)
    count += count % 2
    return {} if count == size else {"rope.dimension_count": count}


FAULTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "an activation that is accepted": (
        "llama",
        {"required": {"hidden_act": ("silu", "gelu")}},
        r"with hidden_act='gelu' in config\.json the outputs differ",
    ),
    "a default that depends on another key": (
        "llama",
        {"defaults": {"num_key_value_heads": 32}},
        "the default of num_key_value_heads is 4 in transformers, not 32",
    ),
    "a default of GGUF": ("qwen3_moe", {"defaults": {}}, r"without norm_topk_prob in config\.json"),
    "a number that has an effect": (
        "mistral",
        {"keys_without_effect": {"sliding_window": "not needed"}, "keys": {"sliding_window": None}},
        r"with sliding_window=3 in config\.json .*it has one",
    ),
    "a function that takes null for another value": (
        "gemma2",
        {"computed": {"attn_logit_softcapping": lambda cap: {"attn_logit_softcapping": cap or 1.5}}},
        r"with attn_logit_softcapping=None in config\.json",
    ),
    "a share of a head that is rounded": (
        "phi3",
        {"computed": {ROTATED: lambda share, size, width, heads: rotated(share or 1, width // heads)}},
        r"with rope_parameters\.partial_rotary_factor=0\.\d+ in config\.json .*something else of this value",
    ),
    "a context that is another": (
        "phi3",
        {"keys": {"max_position_embeddings": None, "initializer_range": "context_length"}},
        r"context_length is .*, but max_position_embeddings 128",
    ),
}
CLASSES = {
    "phi3": ("Phi3ForCausalLM", {"eos_token_id": 2, "pad_token_id": 0, "hidden_size": 80}),
    "mistral": ("MistralForCausalLM", {"sliding_window": None}),
    "llama": ("LlamaForCausalLM", {}),
    "qwen3_moe": (
        "Qwen3MoeForCausalLM",
        {
            "head_dim": 12,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "norm_topk_prob": True,
        },
    ),
    "gemma2": ("Gemma2ForCausalLM", {"head_dim": 12, "query_pre_attn_scalar": 12, "sliding_window": 7}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_setting_that_is_read_otherwise_is_named(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, changed, message = FAULTS[fault]
    names = Plugins.installed().huggingface.get(kind)
    for field in ("computed", "keys", "keys_without_effect"):
        if field in changed:
            values = {**getattr(names, field), **changed[field]}
            changed = {**changed, field: {key: value for key, value in values.items() if value is not None}}
    plugins = Plugins.installed().extended(huggingface={kind: replace(names, **changed)})
    monkeypatch.setattr(Plugins, "installed", lambda: plugins)
    model_class, config = CLASSES[kind]
    with pytest.raises(UnsupportedError, match=message):
        record("tiny", model_class, config)
