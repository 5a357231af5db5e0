from __future__ import annotations

import struct
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceTrainer

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import FormatError
from zigai_tokenizers.charsmap import check_charsmap
from zigai_tokenizers.sentencepiece import SentencePieceTokenizer


def field(message: bytes, wanted: int) -> bytes:
    """The first field `wanted` of a protobuf message whose fields up to it all have wire type 2."""
    position = 0
    while True:
        tag = message[position]
        assert tag & 7 == 2
        length = shift = 0
        while True:
            position += 1
            length |= (message[position] & 0x7F) << shift
            shift += 7
            if message[position] < 0x80:
                break
        position += 1 + length
        if tag >> 3 == wanted:
            return message[position - length : position]


def real_charsmap() -> bytes:
    """The library's NFKC map: normalizer_spec.precompiled_charsmap of a model of single letters."""
    model = BytesIO()
    options: dict[str, Any] = {
        "model_type": "char",
        "vocab_size": 8,
        "minloglevel": 2,
        "normalization_rule_name": "nmt_nfkc",
    }
    SentencePieceTrainer.train(sentence_iterator=iter(["abcd"]), model_writer=model, **options)
    return field(field(model.getvalue(), 3), 2)


CHARSMAP = real_charsmap()
UNITS = struct.unpack_from("<I", CHARSMAP)[0] // 4


def with_unit(index: int, value: int) -> bytes:
    blob = bytearray(CHARSMAP)
    struct.pack_into("<I", blob, 4 + 4 * index, value)
    return bytes(blob)


def tiny(texts: bytes = b"b\0") -> bytes:
    """A map of 256 units that replaces `a` by the first of `texts`."""
    units = np.full(256, 1 << 31, dtype="<u4")
    units[0] = 1 << 10  # children at 1 ^ label
    node = 1 ^ ord("a")
    units[node] = (node ^ 2) << 10 | 1 << 8 | ord("a")  # its value is unit 2
    units[2] = 1 << 31 | 0
    return struct.pack("<I", 1024) + units.tobytes() + texts


def test_a_real_map_is_valid() -> None:
    check_charsmap(CHARSMAP)


def test_a_map_is_applied(spec: TokenizerSpec) -> None:
    tokenizer = SentencePieceTokenizer(replace(spec, precompiled_charsmap=CHARSMAP))
    assert tokenizer.encode("ｈｅｌｌｏ ②") == tokenizer.encode("hello 2")
    assert tokenizer.decode(tokenizer.encode("ﬁve")) == "five"
    tokenizer = SentencePieceTokenizer(replace(spec, precompiled_charsmap=tiny()))
    assert tokenizer.decode(tokenizer.encode("banana")) == "bbnbnb"


@pytest.mark.parametrize(
    ("blob", "names"),
    [
        (b"abc", "3 bytes"),
        (CHARSMAP[:1000], "in 1000;"),
        (struct.pack("<I", 0) + CHARSMAP[4:], "has an array of 0 bytes"),
        (struct.pack("<I", 1028) + CHARSMAP[4:], "has an array of 1028 bytes"),
        (struct.pack("<I", 2**32 - 1024) + CHARSMAP[4:], "has an array of 4294966272 bytes"),
        (CHARSMAP[: 4 + 4 * UNITS], "must be a multiple of 1024 bytes"),
        (CHARSMAP + b"x", "NUL"),
        (with_unit(0, 0x7FFFFFFF), "unit 0 points to"),
        (with_unit(0, 0xFFFFFFFF), "unit 0 points to"),
        (with_unit(0, UNITS << 10), f"unit 0 points to unit {UNITS} of {UNITS}"),
        (with_unit(UNITS - 1, (1 << 20) << 10), f"unit {UNITS - 1} points to"),
        (tiny(b""), "must be a multiple of 1024 bytes"),
        (tiny(b"x" * 2000 + b"\0"), "2000 bytes"),
    ],
)
def test_a_map_with_an_offset_outside_is_an_error(blob: bytes, names: str) -> None:
    with pytest.raises(FormatError, match="precompiled_charsmap") as error:
        check_charsmap(blob)
    assert names in str(error.value)


def test_a_value_past_the_texts_is_an_error() -> None:
    blob = bytearray(tiny())
    struct.pack_into("<I", blob, 4 + 4 * 2, 1 << 31 | 2)
    with pytest.raises(FormatError, match="byte 2 of 2"):
        check_charsmap(bytes(blob))


@settings(max_examples=60)
@given(st.data())
def test_a_damaged_map_is_an_error_or_harmless(spec: TokenizerSpec, data: st.DataObject) -> None:
    blob = bytearray(tiny(b"b\0cc\0"))
    for _ in range(data.draw(st.integers(1, 8))):
        blob[data.draw(st.integers(4, len(blob) - 2))] = data.draw(st.integers(0, 255))
    try:
        tokenizer = SentencePieceTokenizer(replace(spec, precompiled_charsmap=bytes(blob)))
    except FormatError:
        return
    tokenizer.encode("abracadabra " * 20 + "".join(map(chr, range(1, 256))))
