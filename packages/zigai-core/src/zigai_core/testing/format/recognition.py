"""The conformance suite for `FormatReader.recognises`."""

from __future__ import annotations

import os
from pathlib import Path

from zigai_core.testing.format.corruptions import cuts, flips
from zigai_core.testing.format.foreign import FOREIGN
from zigai_core.testing.format.settings import FormatSuite
from zigai_core.testing.format.written_model import overwrite
from zigai_core.testing.memory import PeakMemory

_IO = Path("/proc/self/io")
"""Counts the bytes that this process reads, on Linux; elsewhere only memory is measured."""


class RecognitionConformance(FormatSuite):
    """Tests of what a format recognises as its own."""

    def _foreign(self) -> dict[str, bytes]:
        unknown = self.recognises_also - FOREIGN.keys()
        assert not unknown, f"recognises_also names {sorted(unknown)}; there are {', '.join(FOREIGN)}"
        return {name: content for name, content in FOREIGN.items() if name not in self.recognises_also}

    def test_its_own_model_is_recognised(self, tmp_path: Path) -> None:
        model = self._written(tmp_path)
        for each in (model, *model.linked(tmp_path), model.copied(tmp_path / "my models é 模型")):
            assert self._recognises(each.path), f"{each.path} is not recognised"

    def test_files_of_other_formats_are_not_recognised(self, tmp_path: Path) -> None:
        model = self._written(tmp_path)
        for name, content in self._foreign().items():
            other = tmp_path / f"{name}.data"
            other.write_bytes(content)
            assert not self._recognises(other), f"a file of {name} is recognised"
            if model.path.is_file():  # of a folder, it may be that only the names of files are looked at
                model.path.write_bytes(content)
                what = f"{name} in a file named {model.path.name} is recognised"
                assert not self._recognises(model.path), what

    def test_folders_of_other_files_are_not_recognised(self, tmp_path: Path) -> None:
        model = self._written(tmp_path)
        for name in ("empty", model.path.name if model.path.is_file() else "empty too"):
            folder = tmp_path / "folders" / name
            folder.mkdir(parents=True)
            assert not self._recognises(folder), f"the empty folder {folder} is recognised"
        for name, content in FOREIGN.items():
            (folder / f"{name}.data").write_bytes(content)
        (folder / "README.md").write_bytes(FOREIGN["text"])
        (folder / "folder").mkdir()
        assert not self._recognises(folder), "a folder of other files is recognised"

    def test_what_cannot_be_read_is_not_recognised(self, tmp_path: Path) -> None:
        model = self._written(tmp_path)
        suffix = model.path.suffix
        file = model.files[0]
        (tmp_path / f"dangling{suffix}").symlink_to(tmp_path / "absent")
        (tmp_path / f"loop{suffix}").symlink_to(tmp_path / f"loop{suffix}")
        paths = [
            *(tmp_path / f"{name}{suffix}" for name in ("absent", "dangling", "loop", "a\0b", "x" * 300)),
            file / model.path.name,
            tmp_path / "absent" / model.path.name,
        ]
        for path in paths:
            assert not self._recognises(path), f"{str(path)!r} cannot be read, and is recognised"
        places = [*model.files, model.path]
        for each in places:
            each.chmod(0)
        try:
            refused = not os.access(model.path, os.R_OK)  # an administrator may read all files
            assert not (self._recognises(model.path) and refused), "a path without permission is recognised"
        finally:
            for each in reversed(places):
                each.chmod(0o700)

    def test_recognition_reads_few_bytes_of_a_large_model(self, tmp_path: Path) -> None:
        model = self._written(tmp_path)
        for file in model.files:
            os.truncate(file, 64 << 20)  # a hole, which takes no disk space
        for path in {model.path, *model.files}:
            self._recognises(path)  # what is imported or cached is no part of the measure
            with PeakMemory() as peak:
                before = _bytes_read()
                self._recognises(path)
                read = _bytes_read() - before
            for count, how in ((read, "read"), (peak.nbytes, "allocated")):
                assert count <= self.recognising_bytes, f"{path}: recognises {how} {count} bytes"

    def test_recognition_of_damaged_models_raises_nothing(self, tmp_path: Path) -> None:
        model = self._written(tmp_path)
        for file in model.files:
            content = file.read_bytes()
            _, first = self._counts(model)
            begin = [range(min(2 * first, len(content)))]
            for _, damaged in (*cuts(content, begin, 2 * first), *flips(content, begin, first, 0)):
                overwrite(file, damaged)
                for path in {model.path, file}:
                    self._recognises(path)
            file.unlink()
            self._recognises(model.path)
            file.mkdir()
            self._recognises(model.path)
            file.rmdir()
            file.write_bytes(content)


def _bytes_read() -> int:
    if not _IO.exists():
        return 0
    return int(_IO.read_text().split("rchar:")[1].split()[0])
