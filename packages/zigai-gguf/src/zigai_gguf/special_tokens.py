"""Special tokens of a vocabulary: ids by role, and ids that end a reply.

Sources: GGUF's specification (docs/gguf.md) for keys, llama.cpp (src/llama-vocab.cpp) for default ids and
spellings. One difference: llama.cpp treats every spelling it knows as a control token, whatever its type in
the file. Here only `CONTROL_TEXTS` are; a normal token whose text also occurs in ordinary text (Qwen's
vocabulary has `</s>`, for HTML) keeps its type.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TokenType
from zigai_gguf.keys import Keys
from zigai_gguf.string_array import StringArray

_LOG = logging.getLogger("zigai.gguf")

UNDEFINED = 0
"""The token type of a token whose file does not say: it is normal."""
NONE = 0xFFFFFFFF
"""The id -1 as UINT32: some converters write it if a model has no such token."""

ROLES: dict[str, tuple[str, ...]] = {
    "bos": ("bos_token_id",),
    "eos": ("eos_token_id",),
    "eot": ("eot_token_id",),
    "eom": ("eom_token_id",),
    "unknown": ("unknown_token_id",),
    # The first is the spelling of GGUF's specification; some converters write the second.
    "separator": ("seperator_token_id", "separator_token_id"),
    "padding": ("padding_token_id",),
    "mask": ("mask_token_id",),
    "classifier": ("cls_token_id",),
    # The second keys are those of older files.
    "fim_pre": ("fim_pre_token_id", "prefix_token_id"),
    "fim_suf": ("fim_suf_token_id", "suffix_token_id"),
    "fim_mid": ("fim_mid_token_id", "middle_token_id"),
    "fim_pad": ("fim_pad_token_id",),
    "fim_rep": ("fim_rep_token_id",),
    "fim_sep": ("fim_sep_token_id",),
}
"""Keys that give the id of a role, without `tokenizer.ggml.`. The first key takes precedence."""

DEFAULT_IDS: dict[str, dict[str, int]] = {
    "llama": {"bos": 1, "eos": 2, "unknown": 0},
    "t5": {"eos": 1, "unknown": 2, "padding": 0},
    "bert": {"bos": 101, "unknown": 100, "separator": 102, "padding": 0, "mask": 103},
    "plamo2": {"bos": 1, "eos": 2, "unknown": 0, "padding": 3},
}
"""Default ids by role for each kind of vocabulary; keys of the file override them."""

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
"""Spellings of the tokens of a role, in order of preference, if the file gives no id for it."""

END_ROLES = ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep")
"""Roles whose tokens end a reply."""

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
"""Spellings of control tokens that end a reply."""

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
_AMBIGUOUS_TEXTS = ("</s>", "<eos>", "<EOT>", "<PRE>", "<SUF>", "<MID>", "<PAD>", "<REPO>", "<reponame>")
"""Spellings that also occur in ordinary text."""

CONTROL_TEXTS = frozenset(
    text
    for texts in (END_TEXTS, *ROLE_TEXTS.values(), _OTHER_CONTROL_TEXTS)
    for text in texts
    if text.startswith("<") and text not in _AMBIGUOUS_TEXTS
)
"""Spellings that make a token a control token even if its type in the file is normal or missing."""


NAMES_THAT_STRIP = ("phi-3", "phi3")
"""Parts of `general.name`, in lower case, of models whose special tokens take white space after them away."""

_NOT_STRIPPING = ("<unk>", "<s>", "<|endoftext|>")
"""Their tokens that do not."""


def strip_right(keys: Keys, tokens: Sequence[str], types: NDArray[np.int32] | None) -> frozenset[int]:
    """Returns the ids of the tokens that take the white space after them away.

    Files do not say so of a token; as in llama.cpp (src/llama-vocab.cpp), the model's name decides. A newline
    after `<|user|>`, which Phi-3's chat template has, is no token then.
    """
    name = (keys.label("general.name") or "").lower()
    if types is None or not any(part in name for part in NAMES_THAT_STRIP):
        return frozenset()
    special = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.USER_DEFINED)
    found = np.flatnonzero(np.isin(types, special)).tolist()
    return frozenset(token for token in found if tokens[token] not in _NOT_STRIPPING)


def control_ids(tokens: StringArray) -> list[int]:
    """Returns the ids of the tokens whose text is one of `CONTROL_TEXTS`, in ascending order."""
    return [token for token in tokens.beginning_with(b"<") if tokens[token] in CONTROL_TEXTS]


def corrected_types(types: NDArray[np.int32], controls: Sequence[int]) -> NDArray[np.int32]:
    """Returns the types, int32 `[tokens]`: `NORMAL` for `UNDEFINED`, `CONTROL` for normal `controls`."""
    corrected: NDArray[np.int32] = np.where(types == UNDEFINED, TokenType.NORMAL, types).astype(np.int32)
    for token in controls:
        if corrected[token] == TokenType.NORMAL:
            corrected[token] = TokenType.CONTROL
    corrected.flags.writeable = False
    return corrected


def marked_tokens(
    tokens: Sequence[str], types: NDArray[np.int32] | None, controls: Sequence[int]
) -> dict[str, int]:
    """Returns the ids of control and user-defined tokens by text, the first id of equal texts.

    If `types` is None, these are `controls`, the tokens that are control tokens by their spelling.
    """
    if types is not None:
        controls = np.flatnonzero((types == TokenType.CONTROL) | (types == TokenType.USER_DEFINED)).tolist()
    marked: dict[str, int] = {}
    for token in controls:
        marked.setdefault(tokens[token], token)
    return marked


def special_ids(
    keys: Keys, kind: str, count: int, marked: dict[str, int], needed: Set[str]
) -> dict[str, int]:
    """Returns ids by role: from the keys, else the defaults of `kind`, else the spelling of `marked` tokens.

    Raises `FormatError` if the id of a role in `needed` is out of range. For other roles such a key is logged
    and ignored.
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
                _LOG.info("%s: ignored %s = %d: there are %d tokens", keys.path, key, token, count)
    for role, texts in ROLE_TEXTS.items():
        if role not in ids:
            found = [marked[text] for text in texts if text in marked]
            if found:
                ids[role] = found[0]
    return ids


def end_ids(roles: dict[str, int], marked: dict[str, int], tokens: Sequence[str]) -> frozenset[int]:
    """Returns the ids that end a reply, by role and by spelling."""
    ends = {roles[role] for role in END_ROLES if role in roles}
    ends |= {token for text, token in marked.items() if text in END_TEXTS}
    texts = {tokens[token] for token in ends}
    # Exceptions: in the harmony format <|end|> ends one of several messages, and in vocabularies with
    # <|tool_response> or <|plamo:eos|> the token </s> is plain text.
    if {"<|return|>", "<|call|>"} <= texts or ("<|flush|>" in texts and texts & {"<|call|>", "<|calls|>"}):
        ends = {token for token in ends if tokens[token] != "<|end|>"}
    if texts & {"<|tool_response>", "<|plamo:eos|>"}:
        ends = {token for token in ends if tokens[token] != "</s>"}
    return frozenset(ends)
