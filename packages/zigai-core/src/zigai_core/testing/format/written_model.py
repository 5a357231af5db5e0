"""A model on disk, which is read and damaged."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class WrittenModel:
    """A model on disk: `root` holds its files and nothing else, `path` is what a reader is given."""

    root: Path
    path: Path

    @property
    def files(self) -> list[Path]:
        """All regular files, sorted."""
        return sorted(each for each in self.root.rglob("*") if each.is_file())

    def copied(self, root: Path) -> WrittenModel:
        """Returns a copy in a new folder."""
        shutil.copytree(self.root, root)
        return WrittenModel(root, root / self.path.relative_to(self.root))

    def linked(self, folder: Path) -> list[WrittenModel]:
        """Returns the model behind a link to its folder, and in a folder of links to its files."""
        behind, beside = folder / "link", folder / "links"
        behind.symlink_to(self.root, target_is_directory=True)
        for file in self.files:
            link = beside / file.relative_to(self.root)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
        return [WrittenModel(root, root / self.path.relative_to(self.root)) for root in (behind, beside)]

    def named(self, text: str) -> bool:
        """True if `text` has the path of the model, or that of one of its files."""
        return any(str(each) in text for each in {self.path, *self.root.rglob("*")})


def overwrite(file: Path, content: bytes) -> None:
    """Replaces a file's content. A file that is first emptied is flushed to the disk by some file systems."""
    with file.open("r+b") as opened:
        opened.write(content)
        opened.truncate()
