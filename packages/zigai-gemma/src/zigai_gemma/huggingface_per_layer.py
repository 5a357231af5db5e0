"""Names of tensors in Hugging Face's folders that models with inputs for each layer share.

Source: transformers (models/gemma3n, models/gemma4), whose modules are named here.
"""

from __future__ import annotations

_PROJECTIONS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
}


def layer_of(prefix: str) -> str:
    """The beginning of the names of a layer's tensors, of a model under `prefix`."""
    return f"{prefix}layers.{{}}."


def shared_tensors(prefix: str) -> dict[str, str]:
    """Embeddings, the inputs of layers, the last norm, and the projections of attention."""
    return {
        "lm_head.weight": "output.weight",
        f"{prefix}embed_tokens.weight": "token_embd.weight",
        f"{prefix}embed_tokens_per_layer.weight": "per_layer_token_embd.weight",
        f"{prefix}per_layer_model_projection.weight": "per_layer_model_proj.weight",
        f"{prefix}per_layer_projection_norm.weight": "per_layer_proj_norm.weight",
        f"{prefix}norm.weight": "output_norm.weight",
        **{
            f"{layer_of(prefix)}{theirs}.{kind}": f"blk.{{}}.{ours}.{kind}"
            for theirs, ours in _PROJECTIONS.items()
            for kind in ("weight", "bias")
        },
    }
