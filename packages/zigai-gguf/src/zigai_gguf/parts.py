"""Models in several files, as `llama-gguf-split` of llama.cpp writes them.

Each file is a GGUF file of its own, named `NAME-00001-of-00003.gguf`, with a share of the tensors and the
keys `split.no` (from 0), `split.count` and `split.tensors.count` (of all files together). The first file has
the other metadata. Source: llama.cpp, tools/gguf-split.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import FormatError, quote
from zigai_gguf import limits
from zigai_gguf.keys import Keys
from zigai_gguf.reader import GGUFFile

NUMBER, COUNT, TENSORS = "split.no", "split.count", "split.tensors.count"
_NAME = re.compile(r"(.*-)(\d{5})(-of-)(\d{5})(\.gguf)", re.IGNORECASE | re.DOTALL)


def open_model(path: Path) -> GGUFFile:
    """Returns the model in a file, or that in all the parts of which `path` is any one.

    A model in parts has the path and the metadata of its first part, without the keys of parts.

    Raises `FormatError`, with the file, for a part that is missing, that is not of this model, that is not at
    its place, or that holds a tensor of another one; and what `GGUFFile.open` raises.
    """
    asked = GGUFFile.open(path)
    place = _place(asked)
    if place is None:
        return asked
    paths = _paths(asked, place)
    missing = [each for each in paths if not each.exists()]
    if missing:
        names = ", ".join(each.name for each in missing[:3]) + (", …" if len(missing) > 3 else "")
        raise FormatError(
            f"{path}: is part {place.number} of a model in {place.count} files, of which {len(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing in {path.parent}: {names}: download the rest"
        )
    parts = [asked if each == path else GGUFFile.open(each) for each in paths]
    for number, part in enumerate(parts, start=1):
        _check(part, number, asked, place)
    tensors = _joined(parts)
    if place.tensors is not None and len(tensors) != place.tensors:
        raise FormatError(
            f"{paths[0]}: the {place.count} parts hold {len(tensors)} tensors, but metadata {quote(TENSORS)} "
            f"is {place.tensors}: one of them is of another model, or damaged; download them again"
        )
    first = parts[0]
    return replace(first, metadata=first.metadata.without("split."), tensors=tensors, parts=tuple(paths))


@dataclass(frozen=True)
class _Place:
    """A part's own number, from 1, the number of parts, and of tensors in all of them if that is known."""

    number: int
    count: int
    tensors: int | None


def _place(file: GGUFFile) -> _Place | None:
    """Where a file stands among the parts of its model; None if it is a model of its own."""
    keys = Keys(file.path, file.metadata)
    count = keys.integer(COUNT)
    if count is None or count in (0, 1):
        return None
    if not 0 <= count <= limits.PARTS:
        raise keys.error(COUNT, f"is {count}, but must be within 0..{limits.PARTS}")
    number = keys.integer(NUMBER)
    if number is None or not 0 <= number < count:
        what = "is missing" if number is None else f"is {number}"
        raise keys.error(NUMBER, f"{what}, but must be within 0..{count - 1}, as the model has {count} parts")
    return _Place(number + 1, count, keys.integer(TENSORS))


def _paths(file: GGUFFile, place: _Place) -> list[Path]:
    """The paths of all parts, by the name of one."""
    found = _NAME.fullmatch(file.path.name)
    ending = f"-{place.number:05}-of-{place.count:05}.gguf"
    if found is None:
        raise FormatError(
            f"{file.path}: is part {place.number} of a model in {place.count} files, but its name does not "
            f"end in {ending}, by which the others are found: give the files their own names back"
        )
    if (int(found[2]), int(found[4])) != (place.number, place.count):
        raise FormatError(
            f"{file.path}: is part {place.number} of {place.count} by its metadata, but part {int(found[2])} "
            f"of {int(found[4])} by its name: give it the ending {ending}"
        )
    return [
        file.path.with_name(f"{found[1]}{number:05}{found[3]}{found[4]}{found[5]}")
        for number in range(1, place.count + 1)
    ]


def _check(part: GGUFFile, number: int, asked: GGUFFile, place: _Place) -> None:
    """Raise `FormatError` if a file is not part `number` of the model of the part that was asked for."""
    own = _place(part)
    if own is None:
        raise FormatError(f"{part.path}: is a model of its own, not part {number} of that of {asked.path}")
    if (own.count, own.tensors) != (place.count, place.tensors):
        raise FormatError(
            f"{part.path}: is part of a model of {own.count} files and {own.tensors} tensors, but "
            f"{asked.path} of one of {place.count} files and {place.tensors} tensors: they do not belong "
            "together"
        )
    if own.number != number:
        raise FormatError(
            f"{part.path}: is part {own.number} by its metadata, but part {number} by its name: give it the "
            f"ending -{own.number:05}-of-{own.count:05}.gguf"
        )


def _joined(parts: list[GGUFFile]) -> dict[str, TensorInfo]:
    tensors: dict[str, TensorInfo] = {}
    holders: dict[str, Path] = {}
    known = parts[0].metadata.get("general.architecture")
    for part in parts:
        own = part.metadata.get("general.architecture", known)
        if own != known:
            raise FormatError(
                f"{part.path}: is of the architecture {quote(own)}, but {parts[0].path.name} of "
                f"{quote(known)}: they do not belong together"
            )
        for name, tensor in part.tensors.items():
            if name in tensors:
                raise FormatError(
                    f"{part.path}: tensor {quote(name)} is in {holders[name].name}, too: they do not belong "
                    "together"
                )
            tensors[name] = tensor
            holders[name] = part.path
    return tensors
