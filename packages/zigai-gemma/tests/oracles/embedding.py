"""What sentence-transformers adds to EmbeddingGemma: the mean of the hidden states, and two dense layers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zigai_core.testing.oracles.oracle import drawn

WIDTHS = (32, 40, 32)


def matrices() -> list[np.ndarray]:
    random = np.random.RandomState(5)
    # Four times as large as others: the mean has small differences alone.
    return [4 * drawn(np.zeros((WIDTHS[i + 1], WIDTHS[i]), np.float32), random) for i in (0, 1)]


def write_modules(folder: Path, dense: Sequence[np.ndarray]) -> None:
    """Writes pooling and dense layers beside a model, as sentence-transformers does."""
    from safetensors.numpy import save_file

    kinds = ("Transformer", "Pooling", *("Dense" for _ in dense), "Normalize")
    paths = ["", *(f"{number}_{kind}" for number, kind in enumerate(kinds) if number)]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    for path in paths[1:]:
        (folder / path).mkdir()
    (folder / paths[1] / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    for path, matrix in zip(paths[2:-1], dense, strict=True):
        save_file({"linear.weight": matrix}, folder / path / "model.safetensors")
        settings = {"activation_function": "torch.nn.modules.linear.Identity", "bias": False}
        (folder / path / "config.json").write_text(json.dumps(settings))


def save(folder: Path) -> None:
    """Writes the modules with the oracle's matrices."""
    write_modules(folder, matrices())


def forward(network: Any, ids: Any) -> dict[str, Any]:
    """The embedding of the text, once for each of its tokens."""
    import torch

    mean = network(ids).last_hidden_state[0].mean(dim=0)
    for matrix in matrices():
        mean = torch.from_numpy(matrix) @ mean
    return {"hidden": mean.repeat(ids.shape[1], 1)}
