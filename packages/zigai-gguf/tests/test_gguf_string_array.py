from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zigai_gguf.string_array import StringArray, Truncated


def packed(values: list[str]) -> memoryview:
    return memoryview(b"".join(struct.pack("<Q", len(v.encode())) + v.encode() for v in values))


@given(st.lists(st.text(max_size=5), max_size=20), st.integers(0, 5))
def test_an_array_is_the_sequence_of_its_strings(values: list[str], before: int) -> None:
    data = memoryview(bytes(before) + packed(values).tobytes())
    array = StringArray.walk(data, before, len(values))
    assert len(array) == len(values)
    assert list(array) == values
    assert array == values
    assert [array[i] for i in range(len(values))] == values
    assert [array[-i] for i in range(1, len(values) + 1)] == values[::-1]
    assert array[1::2] == values[1::2]
    assert array.invalid is None
    assert array.end == len(data)
    assert list(reversed(array)) == values[::-1]
    assert array != [*values, "x"]
    for byte in b"0a\xc3":
        expected = [i for i, value in enumerate(values) if value.encode()[:1] == bytes([byte])]
        assert array.beginning_with(bytes([byte])) == expected


def test_an_index_out_of_range_is_an_index_error() -> None:
    array = StringArray.walk(packed(["a"]), 0, 1)
    for index in (1, -2):
        with pytest.raises(IndexError):
            array[index]


def test_the_repr_is_short() -> None:
    array = StringArray.walk(packed(["x" * 1000] * 1000), 0, 1000)
    assert len(repr(array)) < 200


@given(st.lists(st.binary(max_size=4), max_size=8))
def test_the_first_string_that_is_not_utf_8_is_found_with_its_byte(values: list[bytes]) -> None:
    data = memoryview(b"".join(struct.pack("<Q", len(v)) + v for v in values))
    expected = None
    position = 0
    for index, value in enumerate(values):
        try:
            value.decode()
        except UnicodeDecodeError as error:
            expected = (index, position + 8 + error.start)
            break
        position += 8 + len(value)
    assert StringArray.walk(data, 0, len(values)).invalid == expected


def test_more_strings_than_one_chunk_are_checked_and_decoded() -> None:
    values = [str(i) for i in range(40000)]
    data = bytearray(packed(values))
    array = StringArray.walk(memoryview(data), 0, len(values))
    assert list(array) == values
    assert array.invalid is None
    data[-1] = 0xFF
    array = StringArray.walk(memoryview(data), 0, len(values))
    assert array.invalid == (39999, len(data) - 1)
    assert list(array) == [*values[:-1], "3999\ufffd"]
    assert array[-1] == "3999\ufffd"
    assert array.stored == data


@given(st.lists(st.text(max_size=3), min_size=1, max_size=6), st.data())
def test_truncation_at_any_byte_names_the_truncated_string(values: list[str], data: st.DataObject) -> None:
    whole = packed(values)
    cut = data.draw(st.integers(0, len(whole) - 1))
    starts = [0]
    for value in values:
        starts.append(starts[-1] + 8 + len(value.encode()))
    hit = next(i for i in range(len(values)) if starts[i + 1] > cut)
    with pytest.raises(Truncated) as caught:
        StringArray.walk(whole[:cut], 0, len(values))
    needed = starts[hit + 1] - starts[hit] if cut >= starts[hit] + 8 else 8
    assert (caught.value.index, caught.value.position, caught.value.needed) == (hit, starts[hit], needed)
