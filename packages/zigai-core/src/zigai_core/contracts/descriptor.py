"""The description of a model that a format reader returns, the same for every file format.

Names of tensors and hyperparameters are GGUF's (`blk.0.attn_q.weight`, `attention.head_count`); readers of
other formats translate their own names to these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.errors import quote
from zigai_core.contracts.hyperparameters import Hyperparameters
from zigai_core.contracts.tensors import (
    ComputedTensor,
    JoinedTensor,
    TensorInfo,
    kept_copy,
    without_leading_ones,
)

__all__ = [
    "ComputedTensor",
    "Conventions",
    "Hyperparameters",
    "JoinedTensor",
    "ModelDescriptor",
    "Pairing",
    "PrefixScheme",
    "TensorInfo",
    "TokenizerSpec",
    "WordNormalization",
    "kept_copy",
    "without_leading_ones",
]

PrefixScheme = Literal["prepend", "always", "first"]
"""Which texts a space is put before (`TokenizerSpec.prefix_scheme`); names of the tokenizers library."""

Pairing = Literal["adjacent", "half"]
"""Which elements of a head RoPE rotates as a pair: `adjacent`, `(2i, 2i+1)`; `half`, `(i, i + n/2)`.

n is the number of rotated elements of a head (`rope.dimension_count`).
"""


@dataclass(frozen=True)
class Conventions:
    """Choices in storing a model that formats make differently."""

    rope_pairing: Pairing = "half"
    """Which rows of the query and key weights RoPE rotates as a pair: `half`, as most checkpoints of Hugging
    Face have them; `adjacent` if the converter of the format permutes them, or the model was trained so."""


class TokenType(IntEnum):
    """Kinds of tokens, by GGUF's numbers (`llama_token_type` of llama.cpp, include/llama.h)."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    """No text has it: converters add such tokens until there is one for each row of the embedding."""
    BYTE = 6


@dataclass(frozen=True)
class WordNormalization:
    """How texts are normalised for the kind `bert`: the settings of tokenizers' `BertNormalizer`."""

    clean: bool = True
    """Control characters are removed, and all white space becomes spaces."""
    chinese: bool = True
    """Each Chinese character is a word of its own."""
    strip_accents: bool | None = None
    """Characters are decomposed (NFD) and their accents removed; None: if `lowercase` is true."""
    lowercase: bool = True


@dataclass(frozen=True, eq=False)
class TokenizerSpec:
    """A vocabulary as stored in a file.

    `kind` is the name under which its tokenizer is registered (entry point `zigai.tokenizers`). `tokens[i]`
    is the stored text of token i, `scores[i]` its score for SentencePiece and Unigram (-inf: no token of the
    model). `types[i]` is a `TokenType`; None means that all are normal.
    `merges` are the merges of BPE, two tokens with a space between them, in order of rank, and
    `pre_tokenizer` is the name of its pre-tokenizer in GGUF. The five fields from `add_bos` on are settings
    of tokenizers, with the names and meanings of GGUF's keys (`tokenizer.ggml.add_bos_token`, …). Those from
    `splits` on are settings of tokenizer.json.

    Kinds: `llama`, SentencePiece BPE, whose scores order the merges; `gpt2`, byte-level BPE by merges; `bpe`,
    BPE of characters by merges, with U+2581 for spaces and byte tokens for characters without a token;
    `bert`, WordPiece, which takes the longest tokens that a word begins with; `t5` and `unigram`, Unigram,
    whose scores are logarithms of probabilities: `t5` as sentencepiece has it, `unigram` as tokenizer.json.
    """

    kind: str
    tokens: Sequence[str]
    scores: NDArray[np.float32] | NDArray[np.float64] | None = None
    types: NDArray[np.int32] | None = None
    merges: Sequence[str] | None = None
    pre_tokenizer: str | None = None
    special_ids: Mapping[str, int] = field(default_factory=dict)
    """Ids by role: `bos`, `eos`, `unknown`, `padding`, `eot`, …"""
    end_ids: frozenset[int] = frozenset()
    """Ids that end a reply: the file's eos, eot and eom."""
    add_bos: bool = False
    add_eos: bool = False
    separators: tuple[int, ...] = ()
    """Tokens between the two texts of a pair, as a reranker reads it: BOS, a text, these, the other text, EOS
    (each of the outer tokens if texts have it). Empty: the file has no form for pairs."""
    second_type: int = 0
    """The type of the second text's tokens, and of the EOS after them; all others are of type 0."""
    add_space_prefix: bool = True
    remove_extra_whitespaces: bool = False
    precompiled_charsmap: bytes | None = None
    splits: Sequence[str] | None = None
    """Regular expressions of the pre-tokenizer (Oniguruma's syntax), in place of its name: each splits the
    words of those before it."""
    ignore_merges: bool = False
    """With `splits`: whether a word that is a token becomes that token even if no merges produce it."""
    normalizer: str | None = None
    """Unicode normalisation of texts before they are encoded: None or `NFC`."""
    prefix_scheme: PrefixScheme = "prepend"
    """For the kinds `bpe` and `unigram`, before which texts between special tokens `add_space_prefix` puts a
    space: every one (`prepend`), those that do not begin with one (`always`), or only such a text that has no
    special token before it (`first`). With `prepend`, making U+2581 of spaces is part of the normalisation;
    with the others, which are those of a step `Metaspace`, it comes after it."""
    normalized: frozenset[int] = frozenset()
    """Control and user-defined tokens whose normalised text is searched for in the normalised text, after the
    others have been found in the text as it is."""
    strip_left: frozenset[int] = frozenset()
    """Control and user-defined tokens that take the white space before them away."""
    strip_right: frozenset[int] = frozenset()
    """Control and user-defined tokens that take the white space after them away."""
    words: WordNormalization = field(default_factory=WordNormalization)
    """For the kind `bert`, how texts are normalised."""
    continuing_prefix: str | None = None
    """For the kind `bert`, what tokens within a word begin with (`##`). None: tokens that begin a word begin
    with U+2581, and those within one with nothing, as in GGUF files."""
    longest_word: int = 100
    """For the kind `bert`, the characters of the longest word; longer ones become the unknown token."""
    normalizers: Sequence[tuple[str, ...]] = ()
    """For the kind `unigram`, the steps that normalise a text, in order, with the names of tokenizers:
    `("Precompiled",)` by `precompiled_charsmap`, `("Replace", text, by)`, `("Strip", "left right")` at either
    or both ends, `("NFC",)`, `("NFD",)`, `("NFKC",)`, `("NFKD",)`, `("Nmt",)`, `("Lowercase",)` and
    `("StripAccents",)`; and `("Spaces", by)`, which replaces two and more spaces."""
    white_space_ends_words: bool = False
    """For the kind `unigram`, whether words end at white space, which is dropped."""


@dataclass(frozen=True, eq=False, repr=False)
class ModelDescriptor:
    """A model as read from a file: nothing has been computed, and no tensor has been copied.

    `architecture` is the name under which an `Architecture` is registered. `metadata` holds all keys of the
    file. `name` and `format` are for display. `files` are those of a model in several; `path` is then the
    first, or their folder.
    """

    name: str
    architecture: str
    hyperparameters: Hyperparameters
    tensors: Mapping[str, TensorInfo]
    tokenizer: TokenizerSpec | None = None
    chat_template: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """Sampling defaults of the file, by field of `SamplingOptions`; the reader has checked each of them."""
    conventions: Conventions = field(default_factory=Conventions)
    format: str = ""
    path: Path | None = None
    files: tuple[Path, ...] = ()

    @property
    def parameters(self) -> int:
        """Number of parameters: the elements of all tensors."""
        return sum(int(np.prod(tensor.shape, dtype=np.int64)) for tensor in self.tensors.values())

    @property
    def nbytes(self) -> int:
        """Size of all stored tensors in bytes."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def __repr__(self) -> str:
        """On one line, without metadata, vocabulary and tensors, which would fill screens."""
        return (
            f"ModelDescriptor({quote(self.name)}, architecture={quote(self.architecture)}, "
            f"format={quote(self.format)}, {len(self.tensors):,} tensors, {self.parameters:,} parameters, "
            f"{self.nbytes:,} bytes)"
        )
