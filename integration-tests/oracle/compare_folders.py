"""Compares tiny models that transformers saves with what it computes in float32.

`nox -s oracle` runs this. The native backend rounds inputs of products with half-precision weights, so it is
compared on float32 alone; other tests compare its types with numpy's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

import zigai
from zigai_core.api.reading import read
from zigai_gguf.convert import convert

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 300,
    "max_position_embeddings": 256,
}
IDS = [1, 5, 9, 200, 33, 7, 250, 12, 5, 6, 7, 8, 90, 91, 92, 93, 17, 18, 19, 20]


def rope(kind: str, **values: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, "factor": 4.0, **values}}


GEMMA: dict[str, Any] = {"head_dim": 32}
WINDOWED: dict[str, Any] = {"sliding_window": 8, "query_pre_attn_scalar": 24}
"""A window shorter than the texts; models that alternate have more layers than the period."""
LOCAL_AND_LINEAR: dict[str, Any] = {
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e5},
        "sliding_attention": {"rope_type": "default", "rope_theta": 5000.0},
    }
}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama, tied, with biases": (
        "Llama",
        {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "head_dim": 32},
    ),
    "llama 3": (
        "Llama",
        rope("llama3", low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64),
    ),
    "llama, linear": ("Llama", rope("linear")),
    "llama, yarn": ("Llama", rope("yarn", original_max_position_embeddings=64)),
    "mistral": ("Mistral", {"sliding_window": 8}),
    "mixtral": ("Mixtral", {"num_local_experts": 4}),
    "qwen2": ("Qwen2", {}),
    "qwen2 with experts": (
        "Qwen2Moe",
        {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 48,
        },
    ),
    "qwen3 with experts": (
        "Qwen3Moe",
        {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "head_dim": 24,
            "norm_topk_prob": True,
        },
    ),
    "qwen3": ("Qwen3", {"head_dim": 24, "tie_word_embeddings": True}),
    "phi 3, wide heads": ("Phi3", {"head_dim": 24, "eos_token_id": 2, "pad_token_id": 0}),
    "gemma": ("Gemma", GEMMA),
    "gemma 2": (
        "Gemma2",
        {**GEMMA, **WINDOWED, "final_logit_softcapping": 5.0, "attn_logit_softcapping": 3.0},
    ),
    "gemma 3": ("Gemma3Text", {**GEMMA, **WINDOWED, "num_hidden_layers": 8}),
    "gemma 3, linear, capped": (
        "Gemma3Text",
        {**GEMMA, **WINDOWED, **LOCAL_AND_LINEAR, "num_hidden_layers": 8, "final_logit_softcapping": 5.0},
    ),
    "gemma 3, of texts and images": (
        "Gemma3",
        {
            "text_config": {**SIZES, **GEMMA, **WINDOWED, **LOCAL_AND_LINEAR, "num_hidden_layers": 8},
            "vision_config": {
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "hidden_size": 16,
                "intermediate_size": 16,
                "image_size": 64,
            },
            "mm_tokens_per_image": 4,
        },
    ),
}


def new_model(case: str) -> Any:
    """A model of random numbers by the class's own rule, the same for the same case."""
    family, changed = CASES[case]
    torch.manual_seed(len(case))
    values = changed if "text_config" in changed else {**SIZES, **changed}
    config = getattr(transformers, f"{family}Config")(**values)
    kind = "ForConditionalGeneration" if "text_config" in changed else "ForCausalLM"
    return getattr(transformers, family.removesuffix("Text") + kind)(config)


def randomise(model: Any, std: float = 0.3) -> None:
    """Other random numbers: matrices around 0, norms around 1, biases too."""
    stored_minus_one = "Gemma" in type(model).__name__
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=std)
        else:
            torch.nn.init.uniform_(parameter, 0.5 - stored_minus_one, 1.5 - stored_minus_one)


def save_tokenizer(folder: Path, texts: list[str]) -> None:
    """A byte-level tokenizer with a token for each row of the embedding, trained on these texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=SIZES["vocab_size"],
        special_tokens=["<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shards", [False, True], ids=["one file", "shards"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_logits_are_those_of_transformers(
    case: str, shards: bool, dtype: torch.dtype, tmp_path: Path
) -> None:
    model = new_model(case).eval()
    randomise(model)
    model.to(dtype).save_pretrained(tmp_path, max_shard_size="40KB" if shards else "5GB")
    assert (tmp_path / "model.safetensors.index.json").exists() == shards
    # Read again, because a model that changes its type rounds the frequencies of RoPE, too.
    model = type(model).from_pretrained(tmp_path, dtype=torch.float32)
    with torch.no_grad():
        wanted = model(torch.tensor([IDS])).logits[0].numpy()
    limits = {"numpy": 1e-4, **({"native": 1e-3} if dtype is torch.float32 else {})}
    for backend, limit in limits.items():
        got = zigai.load(tmp_path, backend=backend, kv_dtype="F32").logits(IDS)
        assert np.abs(got - wanted).max() <= limit, backend


@pytest.mark.parametrize("case", ["gemma 3, linear, capped", "gemma 3, of texts and images"])
def test_settings_of_gemma_3_as_transformers_4_wrote_them_mean_the_same(case: str, tmp_path: Path) -> None:
    """RoPE in keys of its own, a period of windows, and no key whose value is the default."""
    new_model(case).save_pretrained(tmp_path)
    wanted = zigai.load(tmp_path, backend="numpy").logits(IDS)
    written = json.loads((tmp_path / "config.json").read_text())
    usual = transformers.Gemma3TextConfig().to_dict()
    text = written.get("text_config", written)
    for key in [key for key, value in text.items() if key not in ("model_type",) and usual.get(key) == value]:
        del text[key]
    rope = text.pop("rope_parameters")
    text |= {
        "rope_theta": rope["full_attention"]["rope_theta"],
        "rope_local_base_freq": rope["sliding_attention"]["rope_theta"],
        "rope_scaling": {"rope_type": "linear", "factor": rope["full_attention"]["factor"]},
        "sliding_window_pattern": 6,
    }
    del text["layer_types"]
    assert "max_position_embeddings" in text and "rms_norm_eps" not in text
    (tmp_path / "config.json").write_text(json.dumps(written))
    np.testing.assert_array_equal(zigai.load(tmp_path, backend="numpy").logits(IDS), wanted)


@pytest.mark.parametrize("case", CASES)
def test_a_converted_model_has_the_same_logits(case: str, tmp_path: Path) -> None:
    new_model(case).save_pretrained(tmp_path)
    wanted = zigai.load(tmp_path, backend="numpy").logits(IDS)
    convert(read(tmp_path), tmp_path / "out.gguf")
    got = zigai.load(tmp_path / "out.gguf", backend="numpy").logits(IDS)
    assert np.abs(got - wanted).max() <= 1e-5  # products of permuted rows are added in another order


@pytest.mark.parametrize("case", CASES)
def test_every_key_and_tensor_of_a_family_is_known(case: str, tmp_path: Path) -> None:
    new_model(case).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    model = read(tmp_path)
    assert not [key for key in model.hyperparameters if key.startswith("config.")], written
    assert not [
        name for name in model.tensors if not name.startswith(("blk.", "token_embd", "output", "rope"))
    ]
