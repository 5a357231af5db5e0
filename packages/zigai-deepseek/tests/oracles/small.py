"""Makes what norms of an epsilon of 1e-6 are given so small that the epsilon matters.

Norms of latents have it in every model, the others if the configuration says so. A model whose `q_lora_rank`
is as large as `hidden_size` becomes one without: TOML has no null.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.numpy import load_file, save_file

FACTOR = 2.0**-8
RESIDUAL = ("embed_tokens.weight", "o_proj.weight", "o_proj.bias", "down_proj.weight", "down_proj.bias")


def save(folder: Path) -> None:
    path, about = folder / "model.safetensors", folder / "config.json"
    config = json.loads(about.read_text(encoding="utf-8"))
    weights = load_file(path)
    if config.get("q_lora_rank") == config.get("hidden_size"):
        config["q_lora_rank"] = None
        about.write_text(json.dumps(config), encoding="utf-8")
        weights = {
            name.replace("q_b_proj", "q_proj"): array
            for name, array in weights.items()
            if ".q_a_" not in name
        }
    small = RESIDUAL if config.get("rms_norm_eps", 1e-6) < 1e-3 else ()
    for name, array in weights.items():
        if ".q_a_proj" in name or name.endswith(small):
            array *= FACTOR
        if ".kv_a_proj_with_mqa" in name:
            array[: config.get("kv_lora_rank", 512)] *= FACTOR
    save_file(weights, path, metadata={"format": "pt"})
