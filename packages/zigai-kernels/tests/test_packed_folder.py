"""The size limit of a folder of packed weights."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from zigai_core.contracts.errors import UnsupportedError
from zigai_kernels.packed_file import PackedFile
from zigai_kernels.packed_folder import DEFAULT_LIMIT, LIMIT_VARIABLE, MAGIC, PackedFolder, folder_limit

NBYTES = 1000
SIZE = 4096 + NBYTES + 8


def checksums(data: NDArray[np.uint8], block: int) -> NDArray[np.uint64]:
    return np.array([data[at : at + block].sum(dtype=np.uint64) for at in range(0, data.size, block)])


def packed(folder: Path, name: str, limit: int = DEFAULT_LIMIT) -> PackedFile:
    return PackedFile(PackedFolder(folder, limit), name, NBYTES, checksums)


def fill(memory: NDArray[np.uint8]) -> None:
    memory[:] = 7


def written(folder: Path, name: str, age: float = 0, limit: int = DEFAULT_LIMIT) -> Path:
    """A packed file that no process maps, last used `age` seconds ago."""
    file = packed(folder, name, limit)
    file.written(fill)
    used = time.time() - age
    os.utime(file.path, (used, used))
    return file.path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_least_recently_used_files_are_deleted_for_a_new_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = [written(tmp_path, name, age) for name, age in (("a", 30), ("b", 40), ("c", 20))]
    with caplog.at_level(logging.INFO, "zigai"):
        new = written(tmp_path, "d", limit=2 * SIZE)
    assert names(tmp_path) == {files[2].name, new.name}
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == [
        files[1],
        files[0],
    ]


def test_opening_a_file_sets_its_time_of_use_but_not_of_modification(tmp_path: Path) -> None:
    old, other = written(tmp_path, "old", 50), written(tmp_path, "other", 40)
    before = old.stat().st_mtime_ns
    assert packed(tmp_path, "old").open() is not None
    assert old.stat().st_mtime_ns == before
    new = written(tmp_path, "new", limit=2 * SIZE)
    assert names(tmp_path) == {old.name, new.name}
    assert not other.exists()


def test_opening_a_file_enforces_a_lowered_limit(tmp_path: Path) -> None:
    written(tmp_path, "a", 30)
    kept = written(tmp_path, "b", 40)
    assert packed(tmp_path, "b", limit=SIZE).open() is not None
    assert names(tmp_path) == {kept.name}


def test_a_file_in_use_is_not_deleted_until_its_last_map_is_closed(tmp_path: Path) -> None:
    memory = packed(tmp_path, "mapped").written(fill)
    view = memory[10:20]
    del memory
    written(tmp_path, "b", limit=0)
    assert len(names(tmp_path)) == 2
    assert view.tolist() == [7] * 10
    del view
    again = packed(tmp_path, "mapped").open()
    written(tmp_path, "c", limit=0)
    assert packed(tmp_path, "mapped").path.exists()
    del again
    PackedFolder(tmp_path, 0).make_room()
    assert not names(tmp_path)


HOLDER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_packed_folder import packed
memory = packed(Path(sys.argv[1]), "held").open()
assert memory is not None
print("mapped", flush=True)
sys.stdin.readline()
"""


def test_a_file_that_another_process_maps_is_not_deleted(tmp_path: Path) -> None:
    path = written(tmp_path, "held")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), str(Path(__file__).parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "mapped\n"
        PackedFolder(tmp_path, 0).make_room()
        assert path.exists()
    finally:
        holder.communicate("\n", timeout=60)
    PackedFolder(tmp_path, 0).make_room()
    assert not path.exists()


def test_nothing_but_files_of_packed_weights_is_ever_deleted(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(MAGIC)
    folder = tmp_path / "folder"
    ours = written(folder, "a", 50)
    name = "0" * 31
    (folder / "model.gguf").write_bytes(MAGIC)
    (folder / f"{name}1.packed").write_bytes(b"something else")
    (folder / f"{name}2.packed").symlink_to(outside)
    (folder / f"{name}3.packed").mkdir()
    (folder / f"{name}4.packed.bak").write_bytes(MAGIC)
    os.mkfifo(folder / f"{name}5.packed")
    before = names(folder)
    PackedFolder(folder, 0).make_room()
    assert names(folder) == before - {ours.name}
    assert outside.exists()


def test_only_abandoned_unfinished_files_are_deleted(tmp_path: Path) -> None:
    for number, age in enumerate((10, 7200)):
        path = tmp_path / f".{'0' * 32}.packed.0000000{number}"
        path.write_bytes(MAGIC)
        os.utime(path, (time.time() - age,) * 2)
    PackedFolder(tmp_path, 0).make_room()
    assert names(tmp_path) == {f".{'0' * 32}.packed.00000000"}


def test_files_of_other_versions_are_counted_and_deleted(tmp_path: Path) -> None:
    old = tmp_path / f"{'0' * 32}.packed"
    old.write_bytes(MAGIC + b"\nlayout 3\n" + bytes(SIZE))
    written(tmp_path, "new", limit=SIZE)
    assert not old.exists()


def test_an_absent_folder_needs_no_room(tmp_path: Path) -> None:
    PackedFolder(tmp_path / "none", 0).make_room(1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, DEFAULT_LIMIT),
        ("", DEFAULT_LIMIT),
        ("0", 0),
        ("1234", 1234),
        ("20G", 20 << 30),
        ("5 mib", 5 << 20),
        ("2TB", 2 << 40),
        ("7k", 7 << 10),
    ],
)
def test_the_limit_is_a_number_of_bytes_with_or_without_a_unit(
    value: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(LIMIT_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(LIMIT_VARIABLE, value)
    assert folder_limit() == expected


@pytest.mark.parametrize("value", ["-1", "much", "1.5G", "G", "1X", "9" * 30])
def test_an_invalid_limit_is_an_error(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, value)
    with pytest.raises(UnsupportedError, match=rf"{LIMIT_VARIABLE}='.*must be a number of bytes"):
        folder_limit()
