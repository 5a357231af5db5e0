"""Makes the logits of routers large and biases decide the choice of experts.

Then some chosen experts have scores of about a millionth, which is added to the sum of the chosen ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file


def save(folder: Path) -> None:
    """Multiplies the matrices of routers by 5 and biases by 6, and makes them unlike: ties have no order."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name, values in tensors.items():
        if name.endswith("feed_forward.gate.weight"):
            tensors[name] = 5 * values
        elif name.endswith("expert_bias"):
            tensors[name] = 6 * values + np.arange(len(values), dtype=np.float32) / 1024
    save_file(tensors, path, metadata={"format": "pt"})
