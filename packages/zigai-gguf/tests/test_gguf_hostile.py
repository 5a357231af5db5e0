"""Hostile files, by the classes of faults that were exploited in other readers; comments name advisories."""

from __future__ import annotations

import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zigai_core.contracts.errors import FormatError
from zigai_gguf import GGUFFile, GGUFFormat, limits, write_gguf

Build = Callable[..., Path]
HUGE = [2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**61, 2**63 - 1, 2**63, 2**64 - 1]


def fails(path: Path, what: str) -> str:
    """Checks that reading raises a FormatError and allocates under 4 MiB; returns the message."""
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=what) as caught:
            GGUFFormat().read(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("count", HUGE)
@pytest.mark.parametrize("kind", [0, 6, 8, 9, 12])
def test_an_array_count_past_the_end_is_an_error(build: Build, raw: Any, kind: int, count: int) -> None:
    # CVE-2024-21825, CVE-2024-23496
    path = build(keys=[raw.key("x", 9, struct.pack("<IQ", kind, count) + bytes(64))])
    fails(path, f"byte 41: metadata 'x': its length is {count}, but only 64 bytes follow")


@pytest.mark.parametrize(("kind", "size"), [(0, 1), (2, 2), (6, 4), (12, 8), (8, 8), (9, 12)])
def test_an_array_count_just_past_the_end_is_an_error(build: Build, raw: Any, kind: int, size: int) -> None:
    """Each element takes at least `size` bytes; the count is one more than fit."""
    count = 48 // size + 1
    path = build(keys=[raw.key("x", 9, struct.pack("<IQ", kind, count) + bytes(48))])
    fails(path, f"byte 41: metadata 'x': its length is {count}, but only 48 bytes follow")


@pytest.mark.parametrize("length", HUGE)
def test_a_string_length_past_the_end_is_an_error(build: Build, raw: Any, length: int) -> None:
    # CVE-2024-23496, CVE-2025-49847, CVE-2025-52566: lengths that are negative as 32-bit integers
    fails(build(keys=[raw.key("x", 8, struct.pack("<Q", length) + b"abc")]), f"'x' needs {length} bytes")
    tokens = raw.key("t", 9, struct.pack("<IQ", 8, 2) + raw.text("a") + struct.pack("<Q", length) + b"bc")
    fails(build(keys=[tokens, raw.architecture]), f"'t': element 1 needs {8 + length} bytes")
    last = raw.key("t", 9, struct.pack("<IQ", 8, 2) + struct.pack("<Q", length) + b"abcdefghijk")
    fails(build(keys=[last]), f"'t': element 0 needs {8 + length} bytes")


@pytest.mark.parametrize("count", HUGE)
def test_more_keys_or_tensors_than_the_file_can_hold_are_an_error(build: Build, count: int) -> None:
    # CVE-2024-21836, CVE-2024-23605
    fails(build(key_count=count), f"byte 16: the metadata key count is {count}, but only")
    fails(build(tensor_count=count), f"byte 8: the tensor count is {count}, but only")


def test_missing_keys_or_tensors_are_an_error(build: Build, raw: Any) -> None:
    fails(build(key_count=2, keys=[raw.architecture, bytes(5)]), "metadata key 1 needs 8 bytes")
    path = build(tensor_count=2, tensors=[raw.tensor("x" * 40, [1])])
    fails(path, "the name of tensor 1 needs 8 bytes")


@pytest.mark.parametrize("dimensions", [5, 2**31, 2**32 - 1])
def test_more_than_four_dimensions_are_an_error(build: Build, raw: Any, dimensions: int) -> None:
    # CVE-2024-21802
    entry = raw.text("x") + struct.pack("<I", dimensions) + bytes(60)
    fails(build(tensors=[entry]), f"'x' has {dimensions} dimensions; at most 4")


@pytest.mark.parametrize(
    "dims",
    [
        [2**32, 2**32],
        [2**62, 4],
        [2**63],
        [2**64 - 1, 2**64 - 1, 2**64 - 1, 2**64 - 1],
        [2**16, 2**16, 2**16, 2**16],
        [3, 2**63 + 1],
    ],
)
def test_a_product_of_dimensions_beyond_64_bits_is_an_error(build: Build, raw: Any, dims: list[int]) -> None:
    # CVE-2026-33298
    fails(build(tensors=[raw.tensor("x", dims)], data=bytes(64)), "'x' of shape .* takes .* whole file has")


@pytest.mark.parametrize("dims", [[0], [4, 0], [0, 0, 0, 0]])
def test_a_dimension_of_zero_is_an_error(build: Build, raw: Any, dims: list[int]) -> None:
    fails(build(tensors=[raw.tensor("x", dims)], data=bytes(64)), "'x' has shape .* a dimension is zero")


@pytest.mark.parametrize("offset", [32, 2**32, 2**63, 2**64 - 32])
def test_a_tensor_past_the_end_is_an_error(build: Build, raw: Any, offset: int) -> None:
    # CVE-2026-7482; sums that overflow: CVE-2025-53630, CVE-2026-27940
    fails(
        build(tensors=[raw.tensor("x", [16], 0, offset)], data=bytes(64)), "'x' occupies bytes .* file ends"
    )


def test_tensors_whose_padded_sizes_add_up_past_the_end_are_an_error(build: Build, raw: Any) -> None:
    tensors = [raw.tensor("x", [1], 0, 0), raw.tensor("y", [1], 0, 2**64 - 32)]
    fails(build(tensors=tensors, data=bytes(64)), "'y' occupies bytes")


@pytest.mark.parametrize("offset", [1, 4, 31, 33])
def test_an_unaligned_offset_is_an_error(build: Build, raw: Any, offset: int) -> None:
    path = build(tensors=[raw.tensor("x", [1], 0, offset)], data=bytes(64))
    fails(path, f"'x' has offset {offset}, not a multiple of the alignment 32")


def test_overlapping_tensors_are_an_error(build: Build, raw: Any) -> None:
    tensors = [raw.tensor("x", [16], 0, 0), raw.tensor("y", [1], 0, 32)]
    fails(build(tensors=tensors, data=bytes(64)), "'y' overlaps tensor 'x'")
    tensors = [raw.tensor("x", [1], 0, 32), raw.tensor("y", [1], 0, 32)]
    fails(build(tensors=tensors, data=bytes(64)), "'y' overlaps tensor 'x'")


def test_rows_that_are_not_a_whole_number_of_blocks_are_an_error(build: Build, raw: Any) -> None:
    path = build(tensors=[raw.tensor("x", [33, 32], 2)], data=bytes(1024))
    fails(path, "'x' has rows of 33 elements, not a multiple of Q4_0's block size, 32")


@pytest.mark.parametrize("alignment", [0, 1, 4, 24, 33, 2**25, 2**31, 2**32 - 1])
def test_an_invalid_alignment_is_an_error(build: Build, raw: Any, alignment: int) -> None:
    # CVE-2025-0315
    keys = [raw.architecture, raw.key("general.alignment", 4, struct.pack("<I", alignment))]
    fails(
        build(keys=keys), f"byte 69: metadata 'general.alignment' is {alignment}, but must be a power of two"
    )


def test_an_alignment_of_another_type_is_an_error(build: Build, raw: Any) -> None:
    for kind, payload in [(10, struct.pack("<Q", 32)), (8, raw.text("32")), (9, struct.pack("<IQ", 4, 0))]:
        path = build(keys=[raw.architecture, raw.key("general.alignment", kind, payload)])
        fails(path, "'general.alignment' is .*, but must be UINT32")


@pytest.mark.parametrize("count", [0, 2**16 + 1, 2**32 - 1])
def test_a_block_count_out_of_range_is_an_error(build: Build, raw: Any, count: int) -> None:
    # CVE-2025-0317
    keys = [raw.architecture, raw.key("llama.block_count", 4, struct.pack("<I", count))]
    fails(build(keys=keys), f"'llama.block_count' is {count}, but must be within 1..65536")


def test_a_block_count_above_the_tensor_count_is_an_error(build: Build, raw: Any) -> None:
    keys = [raw.architecture, raw.key("llama.block_count", 4, struct.pack("<I", 2))]
    path = build(keys=keys, tensors=[raw.tensor("x", [1])], data=bytes(4))
    fails(path, "'llama.block_count' is 2, but the file has only 1 tensors")


def test_duplicate_names_are_an_error(build: Build, raw: Any) -> None:
    fails(build(keys=[raw.architecture, raw.architecture]), "key 1 'general.architecture' occurs twice")
    tensors = [raw.tensor("x", [1], 0, 0), raw.tensor("x", [1], 0, 32)]
    fails(build(tensors=tensors, data=bytes(64)), "'x' occurs twice in the file")


@pytest.mark.parametrize("name", ["general.architecture\0x", "\0", "a\0b"])
def test_names_with_a_nul_are_an_error(build: Build, raw: Any, name: str) -> None:
    fails(build(keys=[raw.architecture, raw.key(name, 4, bytes(4))]), "metadata key 1 .* contains a NUL")
    fails(build(tensors=[raw.tensor(name, [1])], data=bytes(4)), "the name of tensor 0 .* contains a NUL")


def test_names_that_are_empty_or_too_long_are_an_error(build: Build, raw: Any) -> None:
    fails(build(keys=[raw.key("", 4, bytes(4))]), "metadata key 0 is empty")
    fails(
        build(keys=[raw.key("x" * 65536, 4, bytes(4))]), "metadata key 0 is 65536 bytes long; at most 65535"
    )
    fails(build(tensors=[raw.tensor("", [1])], data=bytes(4)), "the name of tensor 0 is empty")


BAD = b"ab\xed\xa0\x80"


def test_a_name_that_is_not_utf_8_is_an_error(build: Build, raw: Any) -> None:
    fails(build(keys=[raw.key(b"a\xff", 4, bytes(4))]), "byte 33: metadata key 0 is not valid UTF-8")
    path = build(tensors=[raw.tensor(b"a\xff", [1])], data=bytes(4))
    fails(path, "the name of tensor 0 is not valid UTF-8")


def test_needed_text_that_is_not_utf_8_is_an_error(build: Build, raw: Any) -> None:
    fails(
        build(keys=[raw.key("general.architecture", 8, raw.text(BAD))]), "'general.architecture' is not valid"
    )
    for key in ("tokenizer.ggml.model", "tokenizer.chat_template"):
        fails(
            build(keys=[raw.architecture, raw.key(key, 8, raw.text(BAD))]),
            f"'{key}' is not valid UTF-8: b'ab",
        )
    # Each string has one half of a character.
    halves = raw.strings("tokenizer.ggml.tokens", ["ab", b"c\xc3", b"\xa9d"])
    keys = [raw.architecture, raw.key("tokenizer.ggml.model", 8, raw.text("llama")), halves]
    fails(build(keys=keys), "'tokenizer.ggml.tokens' is not valid UTF-8 in element 1, at byte 178")


def test_text_that_nothing_needs_may_be_invalid_utf_8(build: Build, raw: Any) -> None:
    keys = [
        raw.architecture,
        raw.key("general.name", 8, raw.text(b"Caf\xe9\n\x1b[2J")),
        raw.key("general.description", 8, raw.text(BAD)),
        raw.strings("general.tags", ["a", b"caf\xe9", "c"]),
    ]
    model = GGUFFormat().read(build(keys=keys))
    assert model.name == "Caf\ufffd\\n\\x1b[2J"
    assert model.metadata["general.description"] == BAD
    assert list(model.metadata["general.tags"]) == ["a", "caf\ufffd", "c"]


def test_text_that_is_not_utf_8_is_written_unchanged(build: Build, raw: Any, tmp_path: Path) -> None:
    keys = [raw.key("general.description", 8, raw.text(BAD)), raw.strings("general.tags", ["a", BAD, "c"])]
    path = build(keys=[raw.architecture, *keys])
    copy = tmp_path / "copy.gguf"
    write_gguf(copy, GGUFFile.open(path).metadata, {})
    assert copy.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("long", ["x" * 70_000, "\n\x1b[2J" * 15_000], ids=["long", "control"])
def test_an_error_quotes_little_of_the_file(build: Build, raw: Any, long: str) -> None:
    name = long[:65_000]
    other = raw.key("general.architecture", 8, raw.text(long))
    for arguments in (
        {"keys": [raw.key(name, 7, b"\x02")]},
        {"keys": [raw.key(name, 4, bytes(4)), raw.key(name, 4, bytes(4))]},
        {"tensors": [raw.tensor(name, [1] * 5)], "data": bytes(4)},
        {"tensors": [raw.tensor(name, [64])], "data": bytes(4)},
        {"keys": [other, raw.key("tokenizer.ggml.model", 8, raw.text(long))]},
    ):
        message = fails(build(**arguments), "model.gguf: ")
        assert len(message) < 500
        assert message.isprintable()
    model = GGUFFormat().read(build(keys=[other, raw.key("general.name", 8, raw.text(long))]))
    assert len(model.name) <= 80
    assert model.name.isprintable()
    with pytest.raises(FormatError) as caught:
        model.hyperparameters.integer("block_count")
    assert len(str(caught.value)) < 500


def test_unknown_value_types_and_invalid_bools_are_an_error(build: Build, raw: Any) -> None:
    for kind in (13, 2**32 - 1):
        fails(
            build(keys=[raw.key("x", kind, bytes(8))]),
            f"'x': its type is {kind}, which is not a GGUF value type",
        )
        path = build(keys=[raw.key("x", 9, struct.pack("<IQ", kind, 0))])
        fails(path, f"'x': its element type is {kind}, which")
    fails(build(keys=[raw.key("x", 7, b"\x02")]), "'x' is a BOOL with value 2")
    fails(
        build(keys=[raw.numbers("x", 7, "B", [0, 1, 255])]), "'x' has a BOOL other than 0 and 1 in element 2"
    )


def test_arrays_nested_too_deep_are_an_error(build: Build, raw: Any) -> None:
    for depth in (limits.NESTING, 5000):
        path = build(keys=[raw.key("x", 9, struct.pack("<IQ", 9, 1) * depth + struct.pack("<IQ", 0, 0))])
        fails(path, "'x' nests arrays more than 4 levels deep")
    path = build(keys=[raw.key("x", 9, struct.pack("<IQ", 9, 1) * 3 + struct.pack("<IQ", 0, 0))])
    assert GGUFFile.open(path).metadata["x"][0][0][0].size == 0


def grown(path: Path, size: int) -> Path:
    """Extends the file with zeros (a sparse hole), so that its counts are valid."""
    os.truncate(path, size)
    return path


def test_limits_apply_to_a_large_file_with_valid_counts(build: Build, raw: Any) -> None:
    """Zeros are empty strings or empty arrays, so the counts are valid."""
    gib = 1 << 30
    for kind, bound in ((8, limits.STRINGS), (9, limits.ARRAYS)):
        path = build(keys=[raw.key("x", 9, struct.pack("<IQ", kind, bound + 1))])
        fails(
            grown(path, gib),
            f"'x': its length is {bound + 1}, but a file may have only {bound} more elements of type",
        )
    inner = struct.pack("<IQ", 9, limits.ARRAYS - 1) + bytes(12 * (limits.ARRAYS - 1))
    path = build(keys=[raw.key("x", 9, struct.pack("<IQ", 9, 2) + inner + struct.pack("<IQ", 9, 1))])
    fails(
        grown(path, gib),
        f"'x': its length is {limits.ARRAYS - 1}, but a file may have only {limits.ARRAYS - 2} more",
    )
    path = build(keys=[raw.key("x", 9, struct.pack("<IQ", 0, gib // 2))])
    fails(grown(path, gib), "extends past byte 268435456, the limit for a header")
    path = build(keys=[raw.key("x", 8, struct.pack("<Q", gib // 2))])
    fails(grown(path, gib), "extends past byte 268435456, the limit for a header")
    fails(grown(build(key_count=limits.KEYS + 1), gib), "key count is 65537; at most 65536")
    fails(grown(build(tensor_count=limits.TENSORS + 1), gib), "tensor count is .*; at most")


@pytest.mark.parametrize(
    ("kind", "form", "values", "what"),
    [
        (1, "b", [0, 0, 0], "is an array of INT8, but must be an array of FLOAT32 or INT32"),
        (12, "d", [0, 0, 0], "is an array of FLOAT64"),
        (6, "f", [0, 0], "has 2 entries for 3 tokens"),
        (6, "f", [0, 0, 0, 0], "has 4 entries for 3 tokens"),
        (6, "f", [0, float("nan"), 0], "is NaN for token 1"),
    ],
)
def test_scores_of_another_type_or_count_are_an_error(
    build: Build, raw: Any, kind: int, form: str, values: list[float], what: str
) -> None:
    keys = [
        raw.architecture,
        raw.key("tokenizer.ggml.model", 8, raw.text("llama")),
        raw.strings("tokenizer.ggml.tokens", ["a", "b", "c"]),
        raw.numbers("tokenizer.ggml.scores", kind, form, values),
    ]
    fails(build(keys=keys), f"'tokenizer.ggml.scores' {what}")
