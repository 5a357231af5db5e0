"""Damaged folders of quantised weights are read or refused, in little memory."""

from __future__ import annotations

import json
import random
import tracemalloc
from typing import Any

import pytest

from zigai_core.contracts.errors import ZigAIError
from zigai_safetensors import SafetensorsFormat

CASES: dict[str, tuple[Any, ...]] = {
    "fp8": (40, 64, (16, 32)),
    "mxfp4": (3, 4, 64),
    "awq": (16, 64, 32),
    "gptq": (16, 64, 32),
    "packed": (13, 64, 32, 4, "other"),
    "float8": (6, 20, "block", (4, 8)),
}
VALUES = (
    None,
    True,
    False,
    0,
    1,
    -1,
    3,
    4,
    8,
    32,
    1 << 40,
    0.5,
    "",
    "x",
    "gptq",
    "float",
    [],
    [1],
    [0, 0],
    {},
    {"a": 1},
)
KINDS = ("F32", "F16", "BF16", "I32", "I64", "U8", "F8_E4M3", "F8_E5M2")


def damaged_config(chance: random.Random, config: dict[str, Any]) -> None:
    """Change a value somewhere in quantization_config, remove one, or add one."""
    at: Any = config["quantization_config"]
    while (
        inner := [value for value in at.values() if isinstance(value, dict) and value]
    ) and chance.random() < 0.7:
        at = chance.choice(inner)
    key = chance.choice([*at, "new"])
    if chance.random() < 0.2:
        at.pop(key, None)
    else:
        at[key] = chance.choice(VALUES)


def damaged_header(chance: random.Random, header: dict[str, Any]) -> None:
    """Exchange names, types or shapes, so that files stay valid: what is wrong are the parts."""
    names = [name for name in header if name != "__metadata__"]
    first, second = chance.sample(names, 2)
    how = chance.randrange(4)
    if how == 0:
        header[first], header[second] = header[second], header[first]
    elif how == 1:
        header[first + chance.choice((".x", "_scales", ".weight"))] = header.pop(first)
    elif how == 2:
        header[first]["dtype"] = chance.choice(KINDS)
    else:
        chance.shuffle(header[first]["shape"])
        if chance.random() < 0.5 and len(header[first]["shape"]) > 1:
            *rest, last = header[first]["shape"]
            header[first]["shape"] = [*rest[:-1], rest[-1] * last]


@pytest.mark.parametrize("layout", CASES)
def test_mutated_folders_are_read_or_refused_and_take_little_memory(
    layout: str, layouts: Any, stored: Any, make: Any
) -> None:
    path = stored.write(getattr(layouts, layout)(*CASES[layout]))
    file = path / "model.safetensors"
    content, config = file.read_bytes(), (path / "config.json").read_text()
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length].decode(), content[8 + length :]
    chance = random.Random(11)
    read = 0
    tracemalloc.start()
    for _ in range(500):
        some, other, numbers = json.loads(config), json.loads(header), bytearray(data)
        for _ in range(chance.randint(1, 2)):
            how = chance.randrange(3)
            if how == 0:
                damaged_config(chance, some)
            elif how == 1:
                damaged_header(chance, other)
            else:
                numbers[chance.randrange(len(numbers))] = chance.randrange(256)
        (path / "config.json").write_text(json.dumps(some))
        file.write_bytes(make.shard(other, bytes(numbers)))
        try:
            for tensor in SafetensorsFormat().read(path).tensors.values():
                assert tensor.data.nbytes == tensor.nbytes <= 4 * len(content)
                tensor.to_float32()
            read += 1
        except ZigAIError:
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 50 < read < 450
    assert peak < 4 << 20
