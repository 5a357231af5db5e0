"""Models in several files: found by any part, and parts that do not belong together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import FormatError
from zigai_gguf import GGUFFormat, Typed, ValueType, write_gguf

TENSORS = {f"t{number}": np.full((4, 32), number, np.float32) for number in range(5)}
SHARES = (["t0"], ["t1", "t2"], ["t3", "t4"])


def part(path: Path, number: int, names: list[str], **changed: Any) -> Path:
    """Write part `number` (from 1) of three; a key may be changed, or left out with None."""
    keys: dict[str, Any] = {"general.architecture": "llama", "llama.block_count": 1} if number == 1 else {}
    keys |= {
        "split.no": Typed(ValueType.UINT16, number - 1),
        "split.count": Typed(ValueType.UINT16, 3),
        "split.tensors.count": Typed(ValueType.INT32, 5),
    }
    keys |= {name.replace("__", "."): value for name, value in changed.items()}
    kept = {name: value for name, value in keys.items() if value is not None}
    write_gguf(path, kept, {name: TENSORS[name] for name in names})
    return path


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    return [
        part(tmp_path / f"model-{number:05}-of-00003.gguf", number, names)
        for number, names in enumerate(SHARES, start=1)
    ]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_any_part_opens_the_whole_model(parts: list[Path], place: int) -> None:
    model = GGUFFormat().read(parts[place])
    assert list(model.tensors) == list(TENSORS)
    for name, tensor in model.tensors.items():
        assert np.array_equal(tensor.to_float32(), TENSORS[name])
    assert (model.path, model.architecture, model.format) == (parts[0], "llama", "GGUF v3 in 3 files")
    assert model.files == tuple(parts)
    assert not [key for key in model.metadata if key.startswith("split.")]
    assert len({tensor.identity for tensor in model.tensors.values()}) == 5


def test_a_relative_path_and_a_link_find_the_other_parts(
    parts: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(parts[0].parent)
    assert len(GGUFFormat().read(Path(parts[1].name)).tensors) == 5
    cache = tmp_path / "cache"
    cache.mkdir()
    for number, each in enumerate(parts):
        blob = cache / f"blob{number}"
        each.rename(blob)
        each.symlink_to(blob)
    assert len(GGUFFormat().read(parts[0]).tensors) == 5


def renamed(parts: list[Path]) -> None:
    parts[1].rename(parts[1].with_name("second.gguf"))
    parts[1] = parts[1].with_name("second.gguf")


def exchanged(parts: list[Path]) -> None:
    spare = parts[1].with_name("spare")
    parts[1].rename(spare)
    parts[2].rename(parts[1])
    spare.rename(parts[2])


@pytest.mark.parametrize(
    ("damage", "opened", "error"),
    [
        (lambda parts: parts[1].unlink(), 0, r"1 is missing in .*: model-00002-of-00003.gguf: download"),
        (lambda parts: [each.unlink() for each in parts[1:]], 0, r"2 are missing .*00002.*, .*00003"),
        (renamed, 1, r"second.gguf: is part 2 .* does not end in -00002-of-00003.gguf"),
        (exchanged, 0, r"00002-of-00003.gguf: is part 3 by its metadata, but part 2 by its name"),
        (exchanged, 1, r"is part 3 of 3 by its metadata, but part 2 of 3 by its name"),
        (
            lambda parts: part(parts[1], 2, ["t0", "t2"]),
            0,
            r"tensor 't0' is in model-00001-of-00003.gguf",
        ),
        (
            lambda parts: part(parts[1], 2, ["t1"]),
            0,
            r"hold 4 tensors, but .*'split.tensors.count' is 5",
        ),
        (
            lambda parts: part(parts[1], 2, SHARES[1], split__tensors__count=Typed(ValueType.INT32, 7)),
            0,
            r"3 files and 7 tensors, but .* 3 files and 5 tensors: they do not belong",
        ),
        (
            lambda parts: part(parts[2], 3, SHARES[2], general__architecture="gemma"),
            1,
            r"00003-of-00003.gguf: is of the architecture 'gemma', but",
        ),
        (
            lambda parts: part(parts[2], 3, SHARES[2], split__count=None),
            0,
            r"is a model of its own, not part 3 of that of",
        ),
        (lambda parts: part(parts[0], 1, SHARES[0], split__no=None), 0, r"'split.no' is missing, but must"),
        (
            lambda parts: part(parts[0], 1, SHARES[0], split__no=Typed(ValueType.UINT16, 3)),
            0,
            r"'split.no' is 3, but must be within 0..2",
        ),
        (
            lambda parts: part(parts[0], 1, SHARES[0], split__count=Typed(ValueType.INT32, -2)),
            0,
            r"'split.count' is -2, but must be within 0..1000",
        ),
        (lambda parts: part(parts[0], 1, SHARES[0], split__count="3"), 0, r"'split.count' is STRING"),
        (lambda parts: parts[2].write_bytes(b"GGUF"), 0, r"00003-of-00003.gguf: byte 4: "),
    ],
)
def test_parts_that_are_not_of_one_model_are_named(
    parts: list[Path], damage: Callable[[list[Path]], object], opened: int, error: str
) -> None:
    damage(parts)
    with pytest.raises(FormatError, match=error):
        GGUFFormat().read(parts[opened])


def test_a_model_in_one_part_is_a_model_of_its_own(tmp_path: Path) -> None:
    path = part(tmp_path / "any name.gguf", 1, ["t0"], split__count=Typed(ValueType.UINT16, 1))
    assert list(GGUFFormat().read(path).tensors) == ["t0"]
