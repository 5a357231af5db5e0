"""The weights of a model of transformers that its folder holds."""

from __future__ import annotations

from typing import Any


def stored_weights(network: Any) -> list[tuple[str, Any]]:
    """Returns the parameters and the buffers of floats that files hold, by name, sorted.

    A buffer may be a weight of the model that is not trained by gradients, such as the bias for the choice of
    experts (`e_score_correction_bias` of DeepSeek-V3); others are computed and not stored.
    """
    stored = network.state_dict()
    buffers = [
        (name, buffer)
        for name, buffer in network.named_buffers()
        if name in stored and buffer.is_floating_point()
    ]
    return sorted([*network.named_parameters(), *buffers], key=lambda named: named[0])
