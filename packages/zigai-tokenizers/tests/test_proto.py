from __future__ import annotations

from typing import Any

import numpy as np
from protobuf_fields import Fields, parse

from zigai_tokenizers.proto import BPE, model_proto


def model(pieces: list[bytes], scores: list[float], types: list[int], **options: Any) -> Fields:
    options = {
        "model_type": BPE,
        "byte_fallback": True,
        "add_dummy_prefix": True,
        "remove_extra_whitespaces": False,
        **options,
    }
    return parse(model_proto(pieces, np.array(scores), np.array(types), **options))


def test_a_piece_has_text_score_and_type() -> None:
    lengths = [0, 1, 117, 118, 119, 127, 128, 16_383, 16_384, 70_000]
    pieces = [bytes([65 + index]) * length for index, length in enumerate(lengths)]
    scores = [index - 4.5 for index in range(len(pieces))]
    types = [1 + index % 6 for index in range(len(pieces))]
    written = [value for number, _, value in model(pieces, scores, types) if number == 1]
    assert [parse(piece) for piece in written] == [
        [(1, 2, piece), (2, 5, score), (3, 0, kind)]
        for piece, score, kind in zip(pieces, scores, types, strict=True)
    ]


def test_the_trainer_spec_has_bpe_and_byte_fallback() -> None:
    for fallback in (True, False):
        fields = {number: value for number, _, value in model([b"a"], [0], [2], byte_fallback=fallback)}
        assert parse(fields[2]) == [(3, 0, 2), (35, 0, int(fallback))]


def test_the_normalizer_spec_has_prefix_whitespace_and_charsmap() -> None:
    options = {
        "model_type": BPE,
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": True,
        "precompiled_charsmap": b"map" * 99,
    }
    fields = {number: value for number, _, value in model([b"a"], [0], [2], **options)}
    assert parse(fields[3]) == [(2, 2, b"map" * 99), (3, 0, 0), (4, 0, 1), (5, 0, 1)]
    fields = {number: value for number, _, value in model([b"a"], [0], [2])}
    assert parse(fields[3]) == [(3, 0, 1), (4, 0, 0), (5, 0, 1)]
