"""tokenizer.model as a `TokenizerSpec`: a model of SentencePiece, of the type BPE.

Fields that are read, from `sentencepiece_model.proto` of google/sentencepiece:

| message        | field                        | number | default     |
|----------------|------------------------------|--------|-------------|
| ModelProto     | pieces (repeated)            | 1      |             |
| ModelProto     | trainer_spec                 | 2      |             |
| ModelProto     | normalizer_spec              | 3      |             |
| ModelProto     | denormalizer_spec            | 5      |             |
| SentencePiece  | piece, score, type           | 1, 2, 3 | "", 0, 1 (normal) |
| TrainerSpec    | model_type                   | 3      | 1 (Unigram) |
| TrainerSpec    | treat_whitespace_as_suffix   | 24     | false       |
| TrainerSpec    | unk_id, bos_id, eos_id, pad_id | 40 to 43 | 0, 1, 2, -1 |
| NormalizerSpec | precompiled_charsmap         | 2      | ""          |
| NormalizerSpec | add_dummy_prefix             | 3      | true        |
| NormalizerSpec | remove_extra_whitespaces     | 4      | true        |
| NormalizerSpec | escape_whitespaces           | 5      | true        |

Types of pieces have the same numbers as in GGUF.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_safetensors import limits
from zigai_safetensors.added_tokens import MOST_TOKENS, extended, tokens_of_file, tokens_of_settings
from zigai_safetensors.files import read_bytes
from zigai_safetensors.protobuf import BYTES, FOUR_BYTES, VARINT, Field, fields
from zigai_safetensors.vocabulary import BYTE, NORMAL, UNKNOWN, tokens_and_types

_BPE = 2
_MODEL_TYPES = {1: "Unigram", 3: "word", 4: "char"}
_ROLES = {"unknown": (40, 0), "bos": (41, 1), "eos": (42, 2), "padding": (43, -1)}
"""Number and default of the field of each role."""


def read_sentencepiece(path: Path, settings: Mapping[str, Any]) -> TokenizerSpec:
    """Returns the vocabulary, with the tokens of added_tokens.json and tokenizer_config.json (`settings`).

    Raises `FormatError`, with file and byte, for a file that is not valid; `UnsupportedError` for a type of
    model other than BPE and for settings that are not supported.
    """
    data = read_bytes(path, limits.SENTENCEPIECE_BYTES)
    texts: list[str] = []
    scores: list[bytes] = []
    kinds: list[int] = []
    parts: dict[int, dict[int, Field]] = {2: {}, 3: {}, 5: {}}
    for field in fields(data, 0, len(data), path):
        if field.number == 1 and field.wire == BYTES:
            if len(texts) >= MOST_TOKENS:
                raise FormatError(f"{path}: byte {field.begin}: has more than {MOST_TOKENS} pieces")
            _add_piece(data, field, path, texts, scores, kinds)
        elif field.number in parts and field.wire == BYTES:
            parts[field.number] |= {each.number: each for each in fields(data, field.begin, field.end, path)}
    if not texts:
        raise FormatError(f"{path}: byte {len(data)}: has no pieces, so it is no model of SentencePiece")
    trainer, normalizer, denormalizer = parts.values()
    _check(path, trainer, normalizer, denormalizer)
    types = np.array(kinds, np.int32)
    return _specification(
        path,
        settings,
        dict(enumerate(texts)),
        np.frombuffer(b"".join(scores), "<f4").astype(np.float32),
        types,
        {
            role: found
            for role, (number, default) in _ROLES.items()
            if 0 <= (found := _number(trainer, number, default)) < len(texts)
        },
        precompiled_charsmap=_data(data, normalizer, 2) or None,
        remove_extra_whitespaces=bool(_number(normalizer, 4, 1)),
        add_space_prefix=bool(_number(normalizer, 3, 1)) and settings.get("add_prefix_space") is not False,
    )


def _specification(
    path: Path,
    settings: Mapping[str, Any],
    texts: Mapping[int, str],
    scores: NDArray[np.float32],
    types: NDArray[np.int32],
    roles: Mapping[str, int],
    **options: Any,
) -> TokenizerSpec:
    """The specification, with the tokens that other files of the folder add."""
    beside = path.with_name("tokenizer_config.json")
    added = extended(beside, [], texts, tokens_of_settings(beside, settings))
    beside = path.with_name("added_tokens.json")
    added = extended(beside, added, texts, tokens_of_file(beside))
    tokens, kinds = tokens_and_types(path, texts, added, byte_fallback=False)
    keep = np.isin(types, (UNKNOWN, BYTE)) | (kinds[: len(types)] == NORMAL)
    kinds[: len(types)] = np.where(keep, types, kinds[: len(types)])
    add_bos = settings.get("add_bos_token", True)
    if not isinstance(add_bos, bool):
        raise FormatError(f"{path.parent / 'tokenizer_config.json'}: add_bos_token is {quote(add_bos)}")
    return TokenizerSpec(
        kind="llama",
        tokens=tokens,
        scores=np.concatenate([scores, np.zeros(len(tokens) - len(scores), np.float32)]),
        types=kinds,
        special_ids=roles,
        add_bos=add_bos and "bos" in roles,
        strip_left=frozenset(token.id for token in added if token.lstrip),
        strip_right=frozenset(token.id for token in added if token.rstrip),
        **options,
    )


def _add_piece(
    data: bytes, whole: Field, path: Path, texts: list[str], scores: list[bytes], kinds: list[int]
) -> None:
    text, score, kind = "", b"\0\0\0\0", NORMAL
    for number, wire, begin, end, value in fields(data, whole.begin, whole.end, path):
        if number == 1 and wire == BYTES:
            try:
                text = data[begin:end].decode()
            except UnicodeDecodeError as error:
                raise FormatError(f"{path}: byte {begin + error.start}: is not UTF-8 text") from None
        elif number == 2 and wire == FOUR_BYTES:
            score = data[begin:end]
        elif number == 3 and wire == VARINT:
            kind = value
            if not NORMAL <= kind <= BYTE:
                raise FormatError(f"{path}: byte {begin}: the piece {quote(text)} is of type {kind}")
    texts.append(text)
    scores.append(score)
    kinds.append(kind)


def _check(
    path: Path,
    trainer: Mapping[int, Field],
    normalizer: Mapping[int, Field],
    denormalizer: Mapping[int, Field],
) -> None:
    """Raises `UnsupportedError` for what the kind `llama` of tokenizers cannot do."""
    kind = _number(trainer, 3, 1)
    if kind != _BPE:
        name = _MODEL_TYPES.get(kind, str(kind))
        raise UnsupportedError(f"{path}: trainer_spec.model_type is {name}, which is not supported; BPE is")
    if _number(trainer, 24, 0):
        raise UnsupportedError(f"{path}: trainer_spec.treat_whitespace_as_suffix is not supported")
    if not _number(normalizer, 5, 1):
        raise UnsupportedError(f"{path}: normalizer_spec.escape_whitespaces is false, which is not supported")
    if 2 in denormalizer and denormalizer[2].begin < denormalizer[2].end:
        raise UnsupportedError(f"{path}: denormalizer_spec.precompiled_charsmap is not supported")


def _number(message: Mapping[int, Field], number: int, default: int) -> int:
    """The value of a field as a signed number."""
    field = message.get(number)
    value = default if field is None or field.wire != VARINT else field.value
    return value - (1 << 64) if value >> 63 else value


def _data(data: bytes, message: Mapping[int, Field], number: int) -> bytes:
    field = message.get(number)
    return b"" if field is None or field.wire != BYTES else data[field.begin : field.end]
