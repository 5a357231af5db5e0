"""Aliases: short names of models, from the user's `models.toml` and from a list of the package."""

from __future__ import annotations

import difflib
import re
import stat
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zigai_core.contracts.errors import DownloadError, escape, quote
from zigai_core.contracts.sources import DownloadProgress, Offer, StoredModel
from zigai_hub.folders import aliases_file

_CURATED = Path(__file__).parent / "curated.toml"
_FIELDS = {"model": str, "about": str, "licence": str, "bytes": int, "sha256": str}


@dataclass(frozen=True)
class Alias:
    """An entry of the file: the model that the name stands for, and what is known of it."""

    model: str
    about: str = ""
    licence: str = ""
    bytes: int = 0
    sha256: str = ""


class AliasSource:
    """Short names. The user's file wins over the list that comes with the package."""

    def target(self, name: str) -> str | None:
        """Return the model that the name stands for, with `#sha256=` if its checksum is known."""
        known = self._aliases()
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise DownloadError(
                f"{escape(name)}: there is no such file, folder or alias{hint} (zig-ai list --available "
                f"shows the aliases; yours are in {aliases_file()})"
            )
        alias = known[name]
        return f"{alias.model}#sha256={alias.sha256}" if alias.sha256 else alias.model

    def find(self, name: str) -> Path | None:
        """Return None: the model belongs to the source of `target`."""
        return None

    def pull(self, name: str, progress: DownloadProgress | None = None) -> Path:
        """Raise `DownloadError`: the model belongs to the source of `target`."""
        raise DownloadError(f"alias:{name}: an alias holds no model of its own: pull {self.target(name)}")

    def stored(self, name: str | None = None) -> Sequence[StoredModel]:
        """Return nothing: models belong to the sources of `target`."""
        return ()

    def remove(self, name: str) -> int:
        """Raise `DownloadError`: the model belongs to the source of `target`."""
        raise DownloadError(f"alias:{name}: an alias holds no model of its own: remove {self.target(name)}")

    def offered(self) -> Sequence[Offer]:
        """Return all aliases."""
        return [
            Offer(name, alias.about, alias.bytes, alias.licence, alias.model)
            for name, alias in sorted(self._aliases().items())
        ]

    def _aliases(self) -> dict[str, Alias]:
        return read_aliases(_CURATED) | read_aliases(aliases_file())


def read_aliases(path: Path) -> dict[str, Alias]:
    """The aliases in a file; none if it does not exist. Raises `DownloadError` with the line of an error."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a FIFO would block
            raise DownloadError(f"{path}: not a regular file")
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as error:  # its text ends in (at line N, column M)
        raise DownloadError(f"{path}: not TOML: {error}: correct or remove the file") from error
    except UnicodeDecodeError as error:
        raise DownloadError(f"{path}: not UTF-8 text (at byte {error.start}): correct the file") from error
    except OSError as error:
        raise DownloadError(f"{path}: cannot be read: {error.strerror or error}") from error
    return {name: _alias(path, text, name, table) for name, table in tables.items()}


def _alias(path: Path, text: str, name: str, table: Any) -> Alias:
    where = f"{path}: line {_line(text, name)}"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise DownloadError(f"{where}: the alias {quote(name)} must be of letters, digits, - and _")
    if not isinstance(table, dict) or not isinstance(table.get("model"), str) or not table["model"]:
        raise DownloadError(
            f'{where}: write the alias {name} as a table: [{name}] and model = "hf:OWNER/NAME"'
        )
    for field, value in table.items():
        kind = _FIELDS.get(field)
        if kind is None:
            raise DownloadError(
                f"{where}: the alias {name} has an unknown field {quote(field)}; fields: {', '.join(_FIELDS)}"
            )
        if not isinstance(value, kind) or isinstance(value, bool):
            raise DownloadError(f"{where}: {name}.{field} must be {kind.__name__}, not {quote(value)}")
    if table.get("sha256") and not re.fullmatch(r"[0-9a-fA-F]{64}", table["sha256"]):
        raise DownloadError(f"{where}: {name}.sha256 must be 64 hexadecimal digits")
    return Alias(**table)


def _line(text: str, name: str) -> int:
    pattern = re.compile(rf"\s*\[?\s*[\"']?{re.escape(name)}[\"']?\s*[\].=]")
    lines = text.splitlines()
    return next((number for number, line in enumerate(lines, 1) if pattern.match(line)), 1)
