"""Conversion of the vocabulary in a file's metadata (`tokenizer.ggml.*`) into a `TokenizerSpec`.

Sources: GGUF's specification (docs/gguf.md) for keys and token types, llama.cpp (src/llama-vocab.cpp) for
defaults.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TokenizerSpec, TokenType, WordNormalization
from zigai_core.contracts.errors import quote
from zigai_gguf.keys import Keys
from zigai_gguf.special_tokens import (
    UNDEFINED,
    control_ids,
    corrected_types,
    end_ids,
    marked_tokens,
    special_ids,
    strip_right,
)
from zigai_gguf.values import ValueType

TYPES = range(UNDEFINED, max(TokenType) + 1)
"""Numbers of token types."""

BOS_PRE_TOKENIZERS = frozenset(
    (
        "llama3",
        "llama-v3",
        "llama-bpe",
        "falcon3",
        "falcon-h1",
        "pixtral",
        "midm-2.0",
        "lfm2",
        "jina-v5-nano",
        "tekken",
        "chameleon",
    )
)
"""Pre-tokenisers of `gpt2` vocabularies whose default for `add_bos_token` is true."""


SEPARATING = frozenset(("jina-v1-en", "jina-v2-code", "roberta-bpe"))
"""Pre-tokenisers of `gpt2` vocabularies whose default for `add_sep_token` is true."""


def read_vocabulary(keys: Keys) -> TokenizerSpec | None:
    """Returns the vocabulary, or None if the file has none. Raises `FormatError` naming an invalid key."""
    kind = keys.text("tokenizer.ggml.model")
    if kind is None or kind in ("none", "no_vocab"):
        return None
    tokens = keys.strings("tokenizer.ggml.tokens")
    if tokens is None:
        raise keys.error("tokenizer.ggml.tokens", f"is missing, though tokenizer.ggml.model is {quote(kind)}")
    if not tokens:
        raise keys.error("tokenizer.ggml.tokens", "is an empty array")
    controls = control_ids(tokens)
    types = _types(keys, len(tokens))
    if types is not None:
        types = corrected_types(types, controls)
    marked = marked_tokens(tokens, types, controls)
    pre_tokenizer = keys.text("tokenizer.ggml.pre")
    charsmap = keys.array("tokenizer.ggml.precompiled_charsmap", ValueType.UINT8, ValueType.INT8)
    adds_bos = kind in ("llama", "bert", "gemma4") or (kind == "gpt2" and pre_tokenizer in BOS_PRE_TOKENIZERS)
    add_bos = keys.flag("tokenizer.ggml.add_bos_token", adds_bos)
    needed = {"eos", "bos"} if add_bos else {"eos"}
    roles = special_ids(keys, kind, len(tokens), marked, needed)
    adds_separator = kind == "bert" and keys.flag("tokenizer.ggml.add_sep_token", True)
    if adds_separator and "separator" in roles:  # [SEP], which ends texts: files name no other end
        roles["eos"] = roles["separator"]
    add_eos = adds_separator or keys.flag("tokenizer.ggml.add_eos_token", kind == "t5")
    return TokenizerSpec(
        kind=kind,
        tokens=tokens,
        scores=_scores(keys, len(tokens)),
        types=types,
        merges=keys.strings("tokenizer.ggml.merges"),
        pre_tokenizer=pre_tokenizer,
        special_ids=roles,
        end_ids=end_ids(roles, marked, tokens),
        add_bos=add_bos,
        add_eos=add_eos,
        separators=_separators(keys, kind, roles, pre_tokenizer, add_eos=add_eos),
        second_type=1 if kind == "bert" else 0,
        add_space_prefix=keys.flag("tokenizer.ggml.add_space_prefix", kind == "llama"),
        remove_extra_whitespaces=keys.flag("tokenizer.ggml.remove_extra_whitespaces", False),
        precompiled_charsmap=None if charsmap is None else charsmap.tobytes(),
        strip_right=strip_right(keys, tokens, types),
        words=_normalization(keys),
    )


def _separators(
    keys: Keys, kind: str, roles: Mapping[str, int], pre_tokenizer: str | None, *, add_eos: bool
) -> tuple[int, ...]:
    """The tokens between the texts of a pair: EOS if texts end with it, and a separator if the file adds one.

    Source: llama.cpp (tools/server/server-common.cpp, `format_prompt_rerank`). Of WordPiece, whose files may
    ask for [SEP] alone, it does not put one after the second text, though models are trained with it; here
    [SEP] then ends both texts.
    """
    found = [roles["eos"]] if add_eos and "eos" in roles else []
    adds = kind != "bert" and keys.flag(
        "tokenizer.ggml.add_sep_token", kind == "gpt2" and pre_tokenizer in SEPARATING
    )
    if adds and (separator := roles.get("separator", roles.get("eos"))) is not None:
        found.append(separator)
    return tuple(found)


def _normalization(keys: Keys) -> WordNormalization:
    """The settings for the kind `bert`; without `strip_accents`, accents go if letters are lowered."""
    lowercase = keys.flag("tokenizer.ggml.normalizer.lowercase", True)
    strip = keys.flag("tokenizer.ggml.normalizer.strip_accents", lowercase)
    return WordNormalization(lowercase=lowercase, strip_accents=strip)


def _scores(keys: Keys, count: int) -> NDArray[np.float32] | None:
    key = "tokenizer.ggml.scores"
    stored = keys.array(key, ValueType.FLOAT32, ValueType.INT32)
    if stored is None:
        return None
    if len(stored) != count:
        raise keys.error(key, f"has {len(stored)} entries for {count} tokens")
    # A copy, because an array in the header may be unaligned.
    scores = stored.astype(np.float32)
    wrong = np.flatnonzero(np.isnan(scores))
    if wrong.size:
        raise keys.error(key, f"is NaN for token {int(wrong[0])}")
    scores.flags.writeable = False
    return scores


def _types(keys: Keys, count: int) -> NDArray[np.int32] | None:
    key = "tokenizer.ggml.token_type"
    stored = keys.array(key, ValueType.INT32, ValueType.UINT32)
    if stored is None:
        return None
    if len(stored) != count:
        raise keys.error(key, f"has {len(stored)} entries for {count} tokens")
    wrong = np.flatnonzero((stored < TYPES.start) | (stored >= TYPES.stop))
    if wrong.size:
        raise keys.error(
            key, f"is {int(stored[wrong[0]])} for token {int(wrong[0])}, which is not a token type"
        )
    return stored.astype(np.int32)
