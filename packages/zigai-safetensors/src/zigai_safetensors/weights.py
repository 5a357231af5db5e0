"""The weights of a folder: one safetensors file, or several with an index."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_safetensors import limits
from zigai_safetensors.files import read_json
from zigai_safetensors.shard import read_shard

SUFFIX = ".safetensors"
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
PICKLED = (".bin", ".pt", ".pth", ".ckpt")
_PART = re.compile(r"-\d{5}-of-(\d{5})\.safetensors$")


def read_weights(path: Path) -> tuple[dict[str, TensorInfo], tuple[Path, ...]]:
    """Returns the tensors of a file or folder, and its files; of a file that an index names, those of all.

    Raises `FormatError` for files that are missing, that hold tensors which the index does not name, or lack
    those that it names, and `UnsupportedError` for a folder with pickled weights alone.
    """
    if path.is_file():
        index = path.parent / INDEX
        if index.exists() and path.name in _weight_map(index).values():
            return _indexed(path.parent)
        return _single(path)
    if (path / INDEX).exists():
        return _indexed(path)
    if (path / SINGLE).exists():
        return read_shard(path / SINGLE), (path / SINGLE,)
    found = sorted(each for each in path.iterdir() if each.name.endswith(SUFFIX))
    if len(found) == 1:
        return _single(found[0])
    if found:
        raise FormatError(
            f"{path}: holds {len(found)} files of weights and no {INDEX}, which tells what belongs together: "
            "download it, or name one file"
        )
    pickled = sorted(each.name for each in path.iterdir() if each.suffix in PICKLED)
    if pickled:
        raise UnsupportedError(
            f"{path}: holds its weights as {pickled[0]}, a pickle, which runs any code when opened, so it "
            "is never loaded: look for a version in safetensors, or convert it where you trust it"
        )
    gguf = min((each.name for each in path.iterdir() if each.name.endswith(".gguf")), default=None)
    other = "" if gguf is None else f", or name the GGUF file in it, such as {quote(gguf)}"
    raise FormatError(
        f"{path}: holds config.json and no weights: download {SINGLE}, or {INDEX} and the files that it "
        f"names, from where config.json is from{other}"
    )


def _single(path: Path) -> tuple[dict[str, TensorInfo], tuple[Path, ...]]:
    """The tensors of a file that no index names. Raises `FormatError` if its name is one of several."""
    found = _PART.search(path.name)
    if found is not None and int(found[1]) > 1:
        raise FormatError(
            f"{path}: is one of {int(found[1])} files by its name, and {INDEX}, which names them all, is "
            "missing or does not name it: download it, and the other files, from where this one is from"
        )
    return read_shard(path), (path,)


def _indexed(folder: Path) -> tuple[dict[str, TensorInfo], tuple[Path, ...]]:
    index = folder / INDEX
    places = _weight_map(index)
    files = sorted(set(places.values()))
    missing = [file for file in files if not (folder / file).exists()]
    if missing:
        names = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise FormatError(
            f"{folder}: {len(missing)} of {len(files)} files are missing: {names}: download the rest"
        )
    tensors: dict[str, TensorInfo] = {}
    for file in files:
        for name, tensor in read_shard(folder / file).items():
            if name in tensors:
                raise FormatError(
                    f"{folder / file}: tensor {quote(name)} is in another file of the folder, too"
                )
            if places.get(name) != file:
                said = f"{INDEX} says {places[name]}" if name in places else f"{INDEX} does not name it"
                raise FormatError(f"{folder / file}: holds tensor {quote(name)}, but {said}")
            tensors[name] = tensor
    lacking = [name for name in places if name not in tensors]
    if lacking:
        raise FormatError(
            f"{index}: names tensor {quote(lacking[0])} in {places[lacking[0]]}, which lacks it"
        )
    return tensors, tuple(folder / file for file in files)


def _weight_map(index: Path) -> dict[str, str]:
    """The file of each tensor. A file is a name in the same folder, never a path that leads out of it."""
    places: Any = read_json(index, limits.INDEX_BYTES).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise FormatError(f"{index}: weight_map is {quote(places)}, but must be an object of files by tensor")
    for name, file in places.items():
        if not isinstance(file, str) or not file.endswith(SUFFIX) or {"/", "\\", "\0"} & set(file):
            raise FormatError(
                f"{index}: weight_map: {quote(name)} is in {quote(file)}, which is no name of a {SUFFIX} file"
            )
    return places
