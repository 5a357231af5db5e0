"""Scales weights so that what norms are given is small, and an epsilon of 1e-6 is noticed.

That of queries and keys of the delta net is 1e-6 whatever the configuration says, and llama.cpp has the same
there if the norms have it, too.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file, save_file

SMALLER = 0.01
PARTS = ("embed_tokens.", ".out_proj.", ".o_proj.", ".conv1d.", ".k_proj.", "down_proj")


def save(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    width = config.get("text_config", config)["head_dim"]
    for name, tensor in tensors.items():
        if ".visual." in name:
            continue
        if any(part in name for part in PARTS):
            tensors[name] = tensor * SMALLER
        elif ".q_proj." in name:  # of each head, a query and then a gate
            heads = tensor.reshape(-1, 2, width, *tensor.shape[1:]).clone()
            heads[:, 0] *= SMALLER
            tensors[name] = heads.reshape(tensor.shape)
    save_file(tensors, path, metadata={"format": "pt"})
