"""Serialisation of a SentencePiece model (`ModelProto`) without the protobuf library.

Wire format: https://protobuf.dev/programming-guides/encoding. A field is a tag `number << 3 | wire type`
(0 varint, 2 length and bytes, 5 four bytes) and its value. Fields written, from `sentencepiece_model.proto`
of google/sentencepiece:

| message        | field                    | number | wire type | tag     |
|----------------|--------------------------|--------|-----------|---------|
| ModelProto     | pieces (repeated)        | 1      | 2         | 0A      |
| ModelProto     | trainer_spec             | 2      | 2         | 12      |
| ModelProto     | normalizer_spec          | 3      | 2         | 1A      |
| SentencePiece  | piece                    | 1      | 2         | 0A      |
| SentencePiece  | score                    | 2      | 5         | 15      |
| SentencePiece  | type                     | 3      | 0         | 18      |
| TrainerSpec    | model_type               | 3      | 0         | 18      |
| TrainerSpec    | byte_fallback            | 35     | 0         | 98 02   |
| NormalizerSpec | precompiled_charsmap     | 2      | 2         | 12      |
| NormalizerSpec | add_dummy_prefix         | 3      | 0         | 18      |
| NormalizerSpec | remove_extra_whitespaces | 4      | 0         | 20      |
| NormalizerSpec | escape_whitespaces       | 5      | 0         | 28      |

Types of pieces have the same numbers as in GGUF: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused,
6 byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNIGRAM, BPE = 1, 2
"""Values of `model_type`."""

_TAIL = 7  # bytes of a piece's score and type: tag, four bytes, tag, one byte
_SHORT = 127 - 2 - _TAIL  # the most bytes of text for which both lengths of a piece take one byte each


def model_proto(
    pieces: Sequence[bytes],
    scores: NDArray[np.floating[Any]],
    types: NDArray[np.integer[Any]],
    *,
    model_type: int,
    byte_fallback: bool,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    precompiled_charsmap: bytes = b"",
) -> bytes:
    """Returns a serialised model. `scores` and `types` have shape `[len(pieces)]`.

    Spaces are escaped as U+2581. Without a charsmap, text is not normalised.
    """
    tails = np.empty((len(pieces), _TAIL), dtype=np.uint8)
    tails[:, 0] = 0x15
    tails[:, 1:5] = np.ascontiguousarray(scores, dtype="<f4").view(np.uint8).reshape(-1, 4)
    tails[:, 5] = 0x18
    tails[:, 6] = types
    tail = tails.tobytes()
    heads = [bytes([0x0A, 2 + length + _TAIL, 0x0A, length]) for length in range(_SHORT + 1)]

    parts: list[bytes] = []
    for start, piece in zip(range(0, len(tail), _TAIL), pieces, strict=True):
        parts.append(heads[len(piece)] if len(piece) <= _SHORT else _long_head(len(piece)))
        parts.append(piece)
        parts.append(tail[start : start + _TAIL])
    trainer = b"\x18" + _varint(model_type) + b"\x98\x02" + _varint(byte_fallback)
    normalizer = (
        b"\x18" + _varint(add_dummy_prefix) + b"\x20" + _varint(remove_extra_whitespaces) + b"\x28\x01"
    )
    if precompiled_charsmap:
        normalizer = _bytes(0x12, precompiled_charsmap) + normalizer
    parts += (_bytes(0x12, trainer), _bytes(0x1A, normalizer))
    return b"".join(parts)


def _long_head(length: int) -> bytes:
    """Returns the bytes before a piece's text: tag and length of the message, tag and length of the text."""
    inner = b"\x0a" + _varint(length)
    return b"\x0a" + _varint(len(inner) + length + _TAIL) + inner


def _bytes(tag: int, value: bytes) -> bytes:
    """Returns a field of wire type 2."""
    return bytes([tag]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Encodes an unsigned integer: seven bits per byte, lowest first; the top bit is set if more follow."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
