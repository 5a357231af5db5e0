"""Stores the experts as the first folders of Qwen3-VL do: inputs by outputs."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file


def save(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name, tensor in tensors.items():
        if ".mlp.experts." in name:
            tensors[name] = tensor.transpose(1, 2).contiguous()
    save_file(tensors, path, metadata={"format": "pt"})
