"""The form of a pair of texts in GGUF's keys.

Source: llama.cpp (tools/server/server-common.cpp, `format_prompt_rerank`).
"""

from __future__ import annotations

from typing import Any

from zigai_core.contracts.descriptor import ModelDescriptor, TokenizerSpec
from zigai_core.contracts.errors import UnsupportedError

_RANK = 4
"""`pooling_type` of a reranker."""


def separator_keys(spec: TokenizerSpec, model: ModelDescriptor) -> dict[str, Any]:
    """Returns the keys of the tokens between the texts of a pair, without `tokenizer.ggml.`.

    Between them is EOS if texts end with it, then a separator if the file adds one. Raises `UnsupportedError`
    for a reranker with another form of pairs, or with types that readers do not take.
    """
    ending = (spec.special_ids["eos"],) if spec.add_eos and "eos" in spec.special_ids else ()
    rest = spec.separators[len(ending) :]
    fits = spec.separators[: len(ending)] == ending and len(rest) <= 1 and not (rest and spec.kind == "bert")
    types = spec.second_type == (1 if spec.kind == "bert" else 0)
    if not (fits and types) and model.hyperparameters.get("pooling_type", None) == _RANK:
        raise UnsupportedError(
            f"{model.path}: the tokenizer's form of pairs (tokens {list(spec.separators)} between the texts, "
            f"type {spec.second_type} of the second one) has no keys in GGUF"
        )
    if not (fits and rest):
        return {}
    return {"add_sep_token": True, "seperator_token_id": rest[0]}
