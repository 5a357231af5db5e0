"""What llama.cpp ignores in GGUF files, by architecture.

These are facts about another program that reads the files which this package writes, not about how ZigAI
computes a model: an architecture's own package may be missing when a file is converted. An architecture that
is in no table is assumed to be read in full. Source: https://github.com/ggml-org/llama.cpp, the files that
are named at the tables.
"""

from __future__ import annotations

import math

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import quote
from zigai_gguf.known_keys import KNOWN

_WITHOUT_WINDOW = ("llama", "qwen2", "qwen2moe", "qwen3", "qwen3moe")
"""Architectures whose sliding window llama.cpp does not read (its src/models/llama.cpp, qwen2.cpp, …)."""
_RENORMALISED = {
    "qwen2moe": False,
    **dict.fromkeys(("llama", "qwen3moe", "qwen3next", "qwen3vlmoe", "qwen35moe"), True),
}
"""Whether llama.cpp divides the shares of the chosen experts by their sum, whatever the file says: there,
`norm_w` of `build_moe_ffn`."""

_LAYERS_OF_27B = {"gemma2": 46, "gemma3": 62, "gemma-embedding": 0}
"""By architectures whose `attention.scale` llama.cpp does not read: the number of layers with which it scales
scores by the model's width over its heads, with any other by the width of a head (its src/models/gemma2.cpp
and gemma3.cpp, `f_attention_scale`)."""
_TIED = ("gemma", "gemma2", "gemma-embedding")
"""Architectures of which llama.cpp opens no file with a head of its own, `output.weight`."""


def ignored_by_llama_cpp(model: ModelDescriptor) -> list[str]:
    """Returns what a file of the model says and llama.cpp ignores, each with the texts it matters for."""
    found, hp, of = [], model.hyperparameters, f"of models of the architecture {quote(model.architecture)}"
    own = [key for key in hp if f"{{arch}}.{key}" not in KNOWN]
    if own:
        keys = ", ".join(map(quote, own[:5]))
        found.append(
            f"GGUF has no {'key' if len(own) == 1 else 'keys'} {keys}, so llama.cpp ignores what the file "
            "says there: its logits may be others"
        )
    window = hp.integer("attention.sliding_window", 0)
    if window and model.architecture in _WITHOUT_WINDOW:
        found.append(
            f"llama.cpp ignores the sliding window {of}: there, texts of more than {window} tokens have "
            "other logits"
        )
    layers = _LAYERS_OF_27B.get(model.architecture)
    if layers is not None and hp.get("attention.scale"):
        heads, width = (hp.integer(key, minimum=1) for key in ("attention.head_count", "embedding_length"))
        share, wide = max(1, width // heads), hp.integer("block_count") == layers
        usual = (share if wide else hp.integer("attention.key_length", share, minimum=1)) ** -0.5
        if not math.isclose(hp.number("attention.scale"), usual, rel_tol=1e-5):
            found.append(
                f"llama.cpp ignores the scale of attention {of} and takes {usual:.6g}: there, all texts have "
                "other logits"
            )
    if model.architecture == "gemma2":
        for key in ("attn_logit_softcapping", "final_logit_softcapping"):
            if hp.number(key, 1.0) == 0:
                found.append(f"llama.cpp divides by {key}, which is 0 (none): there, no text has logits")
    if model.architecture in _TIED and "output.weight" in model.tensors:
        found.append(f"llama.cpp reads no output.weight {of}, so it does not open the file")
    always = _RENORMALISED.get(model.architecture)
    if always is not None and hp.flag("expert_weights_norm", always) != always:
        found.append(
            f"llama.cpp {'always' if always else 'never'} divides the shares of experts {of} by their sum, "
            "unlike this model: there, it has other logits"
        )
    return found
