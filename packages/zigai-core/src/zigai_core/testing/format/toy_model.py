"""The model that the suite writes and reads: tiny, with everything that a format may store."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from zigai_core.contracts.descriptor import ModelDescriptor, Pairing, TokenizerSpec
from zigai_core.contracts.tensors import TensorInfo
from zigai_core.testing.toys import toy_decoder

STORED_AS: Mapping[str, str] = {"token_embd": "BF16", "attn_k": "Q8_0", "ffn_up": "F16", "output": "Q8_0"}
"""Storage types of matrices by short name; all other tensors are F32."""

PAIRINGS: tuple[Pairing, ...] = ("half", "adjacent")
"""The pairings of RoPE, the descriptor's default first."""

OPTIONAL: Mapping[str, Any] = {
    "tokenizer": None,
    "chat_template": None,
    "metadata": {},
    "sampling": {},
}
"""Fields of a descriptor that a format need not store, and their values then."""

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>\n{{ message['content'] }} – “é”\n{% endfor %}"
    '{% if add_generation_prompt %}{{ "<|assistant|>" }}{% endif %}'
)


def toy_model(hidden: int, pairing: Pairing, storage_types: Collection[str]) -> ModelDescriptor:
    """Returns a model of two layers, 32 wide, with biases and a vocabulary of eight tokens.

    Matrices of `STORED_AS` whose type is not among `storage_types` are F32.
    """
    sizes: dict[str, Any] = {"width": 32, "heads": 2, "kv_heads": 1, "vocabulary": 259, "context": 64}
    dtypes = {name: dtype for name, dtype in STORED_AS.items() if dtype in storage_types}
    model = toy_decoder(pairing=pairing, hidden=hidden, dtypes=dtypes, bias=True, **sizes)
    few = {name: cut_rows(model.tensors[name], 8) for name in ("token_embd.weight", "output.weight")}
    return replace(
        model,
        tensors={**model.tensors, **few},
        hyperparameters=model.hyperparameters.replaced(vocab_size=8),
        tokenizer=small_vocabulary(),
        chat_template=CHAT_TEMPLATE,
        metadata={"general.author": "Zoë Ångström", "general.version": "1.5-β"},
        sampling={"temperature": 0.6, "top_k": 20, "top_p": 0.95},
    )


def cut_rows(tensor: TensorInfo, rows: int) -> TensorInfo:
    """Returns the first rows of a matrix."""
    return replace(tensor, shape=(rows, *tensor.shape[1:]), data=tensor.row_data(0, rows))


def small_vocabulary() -> TokenizerSpec:
    """Returns a vocabulary of eight tokens of the kind `llama`, whose settings are not the defaults."""
    return TokenizerSpec(
        kind="llama",
        tokens=["<unk>", "<s>", "</s>", "<0x0A>", "▁the", "é", "▁a▁b", "1"],
        scores=np.array([0, 0, 0, 0, -1, -2.5, -3, -4], np.float32),
        types=np.array([2, 3, 3, 6, 1, 1, 1, 1], np.int32),
        special_ids={"unknown": 0, "bos": 1, "eos": 2},
        end_ids=frozenset({2}),
        add_bos=True,
        add_space_prefix=False,
    )
