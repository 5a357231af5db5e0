"""A vocabulary as GGUF has it: of the kind `bpe`, one of the kind `llama` with scores in place of merges."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import UnsupportedError, quote
from zigai_gguf.unigram import DIFFERENCE, as_t5

_BYTE = re.compile("<0x[0-9A-F]{2}>")


def by_scores(spec: TokenizerSpec, path: Path | None) -> TokenizerSpec:
    """Returns a vocabulary of the kind `bpe` with scores, one of `unigram` as `t5`, and any other unchanged.

    The score of a token is the rank of the first merge that gives it, negative; tokens of no merge are below.
    Texts have the same ids if every pair of tokens whose text is a token is a merge, and merges are in the
    order of the tokens that they give. Raises `UnsupportedError` for splits, whole words and missing bytes.
    """
    if spec.kind == "unigram":
        return as_t5(spec, path)
    if spec.kind != "bpe":
        return spec
    if spec.splits or spec.ignore_merges:
        what = f"splits texts by {quote(list(spec.splits or ()))}" if spec.splits else "takes whole texts"
        raise UnsupportedError(f"{path}: the tokenizer {what}, which GGUF cannot ask for")
    if sum(_BYTE.fullmatch(text) is not None for text in spec.tokens) < 256:
        raise UnsupportedError(f"{path}: the tokenizer has no token for some bytes, which GGUF's has")
    order = dict.fromkeys(merge.replace(" ", "") for merge in spec.merges or ())
    ranks = {text: rank for rank, text in enumerate(order)}
    scores = [-float(ranks.get(text, len(ranks))) for text in spec.tokens]
    return replace(spec, kind="llama", scores=np.array(scores, np.float32), merges=None, splits=None)


def differences(spec: TokenizerSpec) -> list[str]:
    """Returns what GGUF cannot ask for, each with the texts that have other ids because of it."""
    found = []
    if spec.normalizer is not None:
        found.append(
            f"the tokenizer normalises texts to {spec.normalizer}, which GGUF cannot ask for: "
            "texts in other forms have other ids in the file, as in llama.cpp"
        )
    late = spec.normalized and (spec.kind in ("bpe", "unigram") or spec.normalizer is not None)
    if late or spec.strip_left or spec.strip_right:
        found.append(
            "some special tokens take white space away or are found in normalised text, which GGUF cannot "
            "ask for: white space beside them has ids in the file"
        )
    if spec.kind == "unigram":
        found.append(DIFFERENCE)
    if spec.kind == "bpe":
        found.append(
            "GGUF orders merges by scores: texts with U+2581 and rare others have other ids in the file"
        )
        if spec.add_space_prefix and spec.prefix_scheme != "prepend":
            found.append(
                "GGUF puts a space before every text after a special token, the tokenizer only before some"
            )
    return found
