"""Which tokens of a vocabulary have a role, and which of them end a reply.

Keys: GGUF's specification (docs/gguf.md). Defaults and spellings: what llama.cpp (src/llama-vocab.cpp) makes
of the same file, with one difference: llama.cpp takes every spelling it knows for a control token, whatever
the file marks it as. Here that holds for `CONTROL_TEXTS`; a normal token that may be a part of people's text
(`</s>` is in Qwen's vocabulary, for HTML) stays what the file says.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set

import numpy as np
from numpy.typing import NDArray

from zigai_gguf.keys import Keys
from zigai_gguf.string_array import StringArray

_LOG = logging.getLogger("zigai.gguf")

UNDEFINED, NORMAL, CONTROL, USER_DEFINED = 0, 1, 3, 4
NONE = 0xFFFFFFFF
"""The id -1, by which some converters say that a model has no such token."""

ROLES: dict[str, tuple[str, ...]] = {
    "bos": ("bos_token_id",),
    "eos": ("eos_token_id",),
    "eot": ("eot_token_id",),
    "eom": ("eom_token_id",),
    "unknown": ("unknown_token_id",),
    # GGUF's own spelling, and the right one, which some converters use.
    "separator": ("seperator_token_id", "separator_token_id"),
    "padding": ("padding_token_id",),
    "mask": ("mask_token_id",),
    "classifier": ("cls_token_id",),
    # The second keys are of files made before the first were agreed upon.
    "fim_pre": ("fim_pre_token_id", "prefix_token_id"),
    "fim_suf": ("fim_suf_token_id", "suffix_token_id"),
    "fim_mid": ("fim_mid_token_id", "middle_token_id"),
    "fim_pad": ("fim_pad_token_id",),
    "fim_rep": ("fim_rep_token_id",),
    "fim_sep": ("fim_sep_token_id",),
}
"""Special tokens by role: the keys that may give the id, without `tokenizer.ggml.`."""

DEFAULT_IDS: dict[str, dict[str, int]] = {
    "llama": {"bos": 1, "eos": 2, "unknown": 0},
    "t5": {"eos": 1, "unknown": 2, "padding": 0},
    "bert": {"bos": 101, "unknown": 100, "separator": 102, "padding": 0, "mask": 103},
    "plamo2": {"bos": 1, "eos": 2, "unknown": 0, "padding": 3},
}
"""Ids that a kind of vocabulary has where the file is silent."""

ROLE_TEXTS: dict[str, tuple[str, ...]] = {
    "eot": (
        "<|eot_id|>",
        "<|im_end|>",
        "<|end|>",
        "<end_of_turn>",
        "<|endoftext|>",
        "<|end_of_text|>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        "<｜end▁of▁sentence｜>",
        "<end_of_utterance>",
    ),
    "eom": ("<|eom_id|>",),
    "fim_pre": (
        "<|fim_prefix|>",
        "<fim-prefix>",
        "<fim_prefix>",
        "<｜fim▁begin｜>",
        "<PRE>",
        "▁<PRE>",
        "<|code_prefix|>",
        "<|prefix|>",
    ),
    "fim_suf": (
        "<|fim_suffix|>",
        "<fim-suffix>",
        "<fim_suffix>",
        "<｜fim▁hole｜>",
        "<SUF>",
        "▁<SUF>",
        "<|code_suffix|>",
        "<|suffix|>",
    ),
    "fim_mid": (
        "<|fim_middle|>",
        "<fim-middle>",
        "<fim_middle>",
        "<｜fim▁end｜>",
        "<MID>",
        "▁<MID>",
        "<|code_middle|>",
        "<|middle|>",
    ),
    "fim_pad": (
        "<|fim_pad|>",
        "<fim-pad>",
        "<fim_pad>",
        "<PAD>",
        "[PAD]",
    ),
    "fim_rep": (
        "<|fim_repo|>",
        "<|repo_name|>",
        "<fim-repo>",
        "<REPO>",
        "<reponame>",
    ),
    "fim_sep": ("<|file_sep|>",),
}
"""How tokens of a role are spelt, the first found first, for files that give no id for it."""

END_ROLES = ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep")
END_TEXTS = frozenset(
    (
        "<|eot_id|>",
        "<|im_end|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<|flush|>",
        "<|calls|>",
        "<end_of_turn>",
        "<|endoftext|>",
        "</s>",
        "<|eom_id|>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        "[EOS]",
        "<|end_of_text|>",
        "<end_of_utterance>",
        "<eos>",
        "<turn|>",
        "<|tool_response>",
        "<｜end▁of▁sentence｜>",
        "[e~[",
    )
)
"""How control tokens that end a reply are spelt."""

_OTHER_CONTROL_TEXTS = (
    "<|im_start|>",
    "<|im_sep|>",
    "<|begin_of_text|>",
    "<|startoftext|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|python_tag|>",
    "<|start|>",
    "<|message|>",
    "<|channel|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|tool|>",
    "<start_of_turn>",
    "<｜begin▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
)
_MISTAKABLE = ("</s>", "<eos>", "<EOT>", "<PRE>", "<SUF>", "<MID>", "<PAD>", "<REPO>", "<reponame>")
CONTROL_TEXTS = frozenset(
    text
    for texts in (END_TEXTS, *ROLE_TEXTS.values(), _OTHER_CONTROL_TEXTS)
    for text in texts
    if text.startswith("<") and text not in _MISTAKABLE
)
"""How tokens are spelt that are control tokens even if the file marks them as normal, or marks none."""


def control_looking(tokens: StringArray) -> list[int]:
    """The ids of the tokens with one of `CONTROL_TEXTS`, ascending."""
    return [token for token in tokens.beginning_with(b"<") if tokens[token] in CONTROL_TEXTS]


def corrected_types(types: NDArray[np.int32], controls: Sequence[int]) -> NDArray[np.int32]:
    """The types, but control for those of the tokens `controls` that are marked as normal or not at all."""
    corrected: NDArray[np.int32] = types.copy()
    for token in controls:
        if types[token] in (UNDEFINED, NORMAL):
            corrected[token] = CONTROL
    corrected.flags.writeable = False
    return corrected


def marked_tokens(
    tokens: Sequence[str], types: NDArray[np.int32] | None, controls: Sequence[int]
) -> dict[str, int]:
    """The control and user-defined tokens, by their text; of two alike, the first.

    `types` None: `controls`, the tokens that can be nothing else by their spelling.
    """
    if types is not None:
        controls = np.flatnonzero((types == CONTROL) | (types == USER_DEFINED)).tolist()
    marked: dict[str, int] = {}
    for token in controls:
        marked.setdefault(tokens[token], token)
    return marked


def special_ids(
    keys: Keys, kind: str, count: int, marked: dict[str, int], needed: Set[str]
) -> dict[str, int]:
    """Ids by role, from the keys, the kind and the tokens' spelling.

    An id out of range is a `FormatError` for a role that is `needed`. For another role the log tells of it,
    and the role has what it would have without the key.
    """
    ids = {role: token for role, token in DEFAULT_IDS.get(kind, {}).items() if token < count}
    for role, names in ROLES.items():
        for name in reversed(names):
            key = f"tokenizer.ggml.{name}"
            token = keys.integer(key)
            if token is None:
                continue
            if token in (NONE, -1):
                ids.pop(role, None)
            elif 0 <= token < count:
                ids[role] = token
            elif role in needed:
                raise keys.error(key, f"is {token}, but there are {count} tokens")
            else:
                _LOG.info("%s: passed over, as there are %d tokens: %s = %d", keys.path, count, key, token)
    for role, texts in ROLE_TEXTS.items():
        if role not in ids:
            found = [marked[text] for text in texts if text in marked]
            if found:
                ids[role] = found[0]
    return ids


def end_ids(roles: dict[str, int], marked: dict[str, int], tokens: Sequence[str]) -> frozenset[int]:
    """Ids that end a reply."""
    ends = {roles[role] for role in END_ROLES if role in roles}
    ends |= {token for text, token in marked.items() if text in END_TEXTS}
    texts = {tokens[token] for token in ends}
    # Two families use a token of the list for something else: in harmony's format <|end|> closes a message of
    # several, and where <|tool_response> or PLaMo's own end exists </s> is plain text.
    if {"<|return|>", "<|call|>"} <= texts or ("<|flush|>" in texts and texts & {"<|call|>", "<|calls|>"}):
        ends = {token for token in ends if tokens[token] != "<|end|>"}
    if texts & {"<|tool_response>", "<|plamo:eos|>"}:
        ends = {token for token in ends if tokens[token] != "</s>"}
    return frozenset(ends)
