"""Checksums of packed weights."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from zigai_kernels.dispatch import load, supported
from zigai_kernels.packer import Packer

BLOCK = 1 << 12
SIZES = (1, 3, 4, 255, 256, 257, 4095, 4096, 4097, 3 * 4096 + 300)


def checksums(
    data: NDArray[np.uint8], instruction_set: str = "baseline", threads: int = 1
) -> NDArray[np.uint64]:
    module = load(instruction_set)
    return Packer(module.ffi, module.lib, threads).checksums(data, BLOCK)


def definition(block: bytes) -> int:
    """The algorithm of checksum.c in Python."""
    lanes = [(lane + 1) * 0xC2B2AE3D & 0xFFFFFFFF for lane in range(64)]
    padded = block.ljust(-(-len(block) // 256) * 256, b"\0")
    for at, word in enumerate(np.frombuffer(padded, "<u4").tolist()):
        lane = lanes[at % 64]
        lane = (lane + word * 0x85EBCA77) & 0xFFFFFFFF
        lanes[at % 64] = (lane << 13 | lane >> 19) * 0x9E3779B1 & 0xFFFFFFFF
    total = len(block)
    for lane in lanes:
        total = ((total << 29 | total >> 35) & (1 << 64) - 1 ^ lane) * 0x9E3779B185EBCA87 & (1 << 64) - 1
    return total ^ total >> 32


def random_bytes(size: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


@pytest.mark.parametrize("size", SIZES)
def test_checksums_equal_the_definition_on_every_instruction_set(size: int) -> None:
    data = random_bytes(size)
    expected = [definition(data[at : at + BLOCK].tobytes()) for at in range(0, size, BLOCK)]
    for instruction_set in supported():
        for threads in (1, 3):
            assert checksums(data, instruction_set, threads).tolist() == expected


def test_an_empty_array_has_no_checksums() -> None:
    assert checksums(np.zeros(0, np.uint8)).size == 0


def test_checksums_of_many_blocks_are_the_same_with_several_threads() -> None:
    data = random_bytes(100 * BLOCK + 17)
    for instruction_set in supported():
        np.testing.assert_array_equal(
            checksums(data, instruction_set, 4),
            [definition(data[at : at + BLOCK].tobytes()) for at in range(0, data.size, BLOCK)],
        )


def test_checksums_do_not_depend_on_alignment() -> None:
    data = random_bytes(5000)
    shifted = np.zeros(5064, np.uint8)
    for start in range(1, 64, 9):
        shifted[start : start + 5000] = data
        for instruction_set in supported():
            np.testing.assert_array_equal(
                checksums(shifted[start : start + 5000], instruction_set), checksums(data)
            )


@pytest.mark.parametrize("background", ["zeros", "random"])
def test_flipped_bits_and_lost_bytes_change_the_checksum(background: str) -> None:
    size = 700
    data = random_bytes(size) if background == "random" else np.zeros(size, np.uint8)
    seen = {int(checksums(data)[0])}
    for bit in range(8 * size):
        data[bit // 8] ^= 1 << bit % 8
        seen.add(int(checksums(data)[0]))
        data[bit // 8] ^= 1 << bit % 8
    for bit in range(
        31, 8 * 256, 32
    ):  # the highest bit of each word, with each bit of the next word in its lane
        for other in range(2048 + bit - 31, 2048 + bit + 1):
            for flipped in (bit, other):
                data[flipped // 8] ^= 1 << flipped % 8
            seen.add(int(checksums(data)[0]))
            for flipped in (bit, other):
                data[flipped // 8] ^= 1 << flipped % 8
    for shorter in range(1, size):
        seen.add(int(checksums(data[:shorter])[0]))
    assert len(seen) == 1 + 8 * size + 64 * 32 + size - 1


def test_exchanged_words_and_stripes_change_the_checksum() -> None:
    data = random_bytes(2048)
    seen = {int(checksums(data)[0])}
    for distance in (4, 64, 256, 512, 1024):
        changed = data.copy()
        changed[:4], changed[distance : distance + 4] = data[distance : distance + 4], data[:4]
        seen.add(int(checksums(changed)[0]))
    rolled = np.roll(data, 256)
    seen.add(int(checksums(rolled)[0]))
    assert len(seen) == 7
